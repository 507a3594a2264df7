import dataclasses
from pathlib import Path

import pytest

from stream.config import Config, SessionConfig, load_config, parse_config
from stream.errors import ConfigError

pytestmark = pytest.mark.unit


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "visavis.toml")
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("visavis.toml: ")
    return message


def test_without_a_file_every_value_is_its_class_default() -> None:
    assert load_config(None) == Config()


def test_an_empty_file_is_the_same_as_none() -> None:
    assert parse_config("", "empty.toml") == Config()


def test_values_of_the_file_replace_defaults_and_nothing_else() -> None:
    config = parse_config("[session]\nre_voice_delay_ms = 100", "visavis.toml")
    assert config.session == dataclasses.replace(SessionConfig(), re_voice_delay_ms=100.0)
    assert config.server == Config().server


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().server.port = 1  # type: ignore[misc]


def test_lists_become_tuples() -> None:
    config = parse_config('[server]\nallowed_hosts = ["a.example", "b.example"]', "visavis.toml")
    assert config.server.allowed_hosts == ("a.example", "b.example")


def test_the_peers_settings_are_part_of_the_same_file() -> None:
    assert parse_config('[peer]\nvideo_codec = "vp8"', "visavis.toml").peer.video_codec == "vp8"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[sever]\nport = 1", "[sever] does not exist. Did you mean server?"),
        ("[server]\nprot = 1", "[server] prot does not exist. Did you mean port?"),
        ("[server]\nzzz = 1", "[server] zzz does not exist. Known here: host, port"),
        ('[server]\nport = "80"', "[server] port is '80', it must be a whole number"),
        ("[server]\nport = true", "[server] port is True, it must be a whole number"),
        ("[server]\nport = 80.5", "[server] port is 80.5, it must be a whole number"),
        ("[server]\nport = 70000", "[server] port is 70000, it must be from 0 to 65535"),
        ("[server]\nhost = 1", "[server] host is 1, it must be a text in quotes"),
        (
            '[server]\nallowed_hosts = "a"',
            "[server] allowed_hosts is 'a', it must be a list, each item a text in quotes",
        ),
        ("[server]\nallowed_hosts = [1]", "[server] allowed_hosts is [1], it must be a list"),
        ("[session]\nre_voice_delay_ms = -1", "[session] re_voice_delay_ms is -1, it must be from 0 to 2000"),
        ("[session]\nre_voice_delay_ms = nan", "[session] re_voice_delay_ms is nan, it must be from 0 to 2000"),
        ('[faces]\nbackend = "opencv"', '[faces] backend is \'opencv\', it must be "openvino" or "mediapipe"'),
        ("[faces]\nmax_faces = 0", "[faces] max_faces is 0, it must be from 1 to 8"),
        ("server = 1", "[server] is 1, it must be a table"),
        ('[peer]\nvideo_codec = "av1"', "[peer] video_codec is 'av1', it must be"),
        ("[peer]\nmin_bitrate_bps = 9\nmax_bitrate_bps = 8", "[peer] min_bitrate_bps is 9 and max_bitrate_bps 8"),
    ],
)
def test_what_does_not_fit_is_refused_naming_the_field_and_what_would_fit(text: str, found: str) -> None:
    assert complaint(text).startswith(f"visavis.toml: {found}")


def test_a_file_that_is_not_toml_is_refused_with_the_line() -> None:
    with pytest.raises(ConfigError, match=r"visavis.toml is not TOML: .*line 1"):
        parse_config("server: {}", "visavis.toml")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read \(No such file"):
        load_config(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"odd\.toml is not text"):
        load_config(path)
