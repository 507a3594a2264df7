"""Who decodes and encodes is found by trying; every name that the card is given exists in the installed FFmpeg."""

import errno
from typing import Any

import av
import av.logging
import numpy as np
import pytest
from av.codec.context import CodecOption
from av.codec.hwaccel import HWAccel

from stream.config import Config, parse_config
from stream.errors import ConfigError
from stream.media import codec_device, nvenc, writer
from stream.media.codec_device import (
    CPU,
    GREY_KEYFRAME,
    CardFault,
    CodecsConfig,
    choose,
    cuda_device,
    has_library,
    open_codec,
    try_decoder,
    try_encoder,
)
from stream.media.writer import Encoding
from stream.server import open_codecs
from stream.transport import video_codec
from stream.transport.config import PeerConfig
from tests.stream.card_stand_in import BROKEN, Card

pytestmark = pytest.mark.unit

# The tests run on machines with a card too; what is said of a machine without one is asked of such a machine only.
NO_DRIVER = not has_library("libcuda.so.1")
without_a_driver = pytest.mark.skipif(not NO_DRIVER, reason="this machine has NVIDIA's driver")
AUTO, NVIDIA = CodecsConfig(device="auto"), CodecsConfig(device="nvidia")


def everything(_: str) -> bool:
    return True


def test_the_processor_is_the_default_and_nothing_is_tried() -> None:
    card = Card()
    assert choose(Config().codecs, opener=card.open, has=everything) is CPU
    assert card.opened == []


@pytest.mark.parametrize("config", [AUTO, NVIDIA])
def test_a_card_that_does_both_does_both(config: CodecsConfig) -> None:
    card = Card()
    codecs = choose(config, opener=card.open, has=everything)
    assert (codecs.decode, codecs.encode, codecs.strict) == ("nvidia", "nvidia", config is NVIDIA)
    assert card.opened == [("h264", "r", 0), ("h264_nvenc", "w", 0)]
    assert str(codecs) == "pictures are decoded by card 0 and encoded by card 0"


def test_auto_on_a_card_without_an_encoder_decodes_there_and_says_so() -> None:
    codecs = choose(AUTO, opener=Card(refuses=("h264_nvenc",)).open, has=everything)
    assert (codecs.decode, codecs.encode) == ("nvidia", "cpu")
    assert str(codecs).startswith(
        "pictures are decoded by card 0 and encoded by the processor (NVENC of card 0 does not"
    )


def test_nvidia_on_a_card_without_an_encoder_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"NVENC of card 0 does not work.*\"auto\" to decode on the card.*H100"):
        choose(NVIDIA, opener=Card(refuses=("h264_nvenc",)).open, has=everything)


def test_a_driver_without_its_video_libraries_is_named() -> None:
    codecs = choose(AUTO, opener=Card().open, has=lambda name: name == "libcuda.so.1")
    assert (codecs.decode, codecs.encode) == ("cpu", "cpu")
    assert "libnvcuvid.so.1 is not found" in str(codecs)
    assert "libnvidia-encode.so.1 is not found" in str(codecs)
    with pytest.raises(ConfigError, match="NVIDIA_DRIVER_CAPABILITIES"):
        choose(NVIDIA, opener=Card().open, has=lambda name: name == "libcuda.so.1")


def test_a_codec_that_holds_pictures_back_is_not_taken_for_live_work() -> None:
    codecs = choose(AUTO, opener=Card(late=True).open, has=everything)
    assert (codecs.decode, codecs.encode) == ("cpu", "cpu")
    assert "it holds pictures back" in str(codecs)


def test_without_a_driver_auto_takes_the_processor_and_nvidia_is_refused_in_one_line() -> None:
    codecs = choose(AUTO, has=lambda _: False)
    assert (codecs.decode, codecs.encode) == ("cpu", "cpu")
    assert str(codecs) == (
        "pictures are decoded by the processor and encoded by the processor "
        "(there is no NVIDIA driver: libcuda.so.1 is not found)"
    )
    with pytest.raises(ConfigError) as raised:
        choose(NVIDIA, has=lambda _: False)
    message = str(raised.value)
    assert "\n" not in message
    assert "there is no NVIDIA driver" in message
    assert 'Remedy: set [codecs] device = "cpu", or install' in message


@without_a_driver
def test_the_installed_ffmpeg_itself_says_why_its_card_codecs_do_not_open() -> None:
    level = av.logging.get_level()
    codecs = choose(AUTO, has=everything)
    assert (codecs.decode, codecs.encode) == ("cpu", "cpu")
    assert "NVDEC of card 0 does not work: Cannot load libcuda.so.1" in str(codecs)
    assert "NVENC of card 0 does not work: Cannot load libcuda.so.1" in str(codecs)
    assert av.logging.get_level() == level


@without_a_driver
@pytest.mark.parametrize(
    ("name", "mode"), [("h264", "r"), ("vp8", "r"), ("vp9", "r"), ("h264_nvenc", "w"), ("h264_cuvid", "r")]
)
def test_the_installed_ffmpeg_knows_the_cards_codecs_and_cannot_open_them(name: str, mode: Any) -> None:
    with pytest.raises(av.error.PermissionError):
        open_codec(name, mode, 0)


def test_a_codec_without_a_form_for_cards_is_a_fault_and_not_the_processors() -> None:
    with pytest.raises(CardFault, match="no libvpx for NVIDIA's cards"):
        open_codec("libvpx", "r", 0)


@pytest.mark.parametrize("name", ["h264", "vp8", "vp9", "hevc", "av1"])
def test_the_installed_ffmpegs_own_decoders_have_a_form_for_cards(name: str) -> None:
    devices = [config.device_type.name for config in av.codec.Codec(name, "r").hardware_configs or ()]
    assert devices == ["cuda"]


def test_a_card_is_taken_by_its_number_and_software_only_where_it_is_allowed() -> None:
    device = cuda_device(3)
    assert device.device_id == 3
    assert device.options == {"primary_ctx": "1"}
    assert device.allow_software_fallback is False  # type: ignore[attr-defined]
    assert cuda_device(0, software_too=True, primary=False).options == {}


def test_a_primary_context_that_others_began_differently_is_left_to_them() -> None:
    options = []

    def make(device: HWAccel) -> str:
        options.append(device.options)
        if device.options:
            raise av.error.OSError(errno.ENOTSUP, "Operation not supported")
        return "opened"

    assert codec_device._on_card(0, make) == "opened"
    assert options == [{"primary_ctx": "1"}, {}]


def test_any_other_fault_of_the_context_is_told() -> None:
    def make(_: HWAccel) -> str:
        raise BROKEN

    with pytest.raises(av.error.ExternalError):
        codec_device._on_card(0, make)


def test_the_trial_picture_is_one_that_any_decoder_gives_out_at_once() -> None:
    context = av.CodecContext.create("h264", "r")
    (frame,) = context.decode(av.Packet(GREY_KEYFRAME))
    assert (frame.height, frame.width) == (128, 160)  # type: ignore[union-attr]
    assert set(np.unique(frame.to_ndarray())) == {128}  # type: ignore[union-attr]


def test_both_trials_pass_where_the_codecs_work() -> None:
    card = Card()
    try_decoder(card.open, 0)
    try_encoder(card.open, 0)
    assert card.contexts[1].options == nvenc.live_options(500_000, 320 * 240)


# -- options ----------------------------------------------------------------------------------------------------------


def wrong_options(encoder: str, options: dict[str, str]) -> list[str]:
    """Names and values that the installed FFmpeg does not have for an encoder."""
    known = av.CodecContext.create(encoder, "w").supported_options
    # A codec's own options come first, as FFmpeg looks for them.
    named = {each.name: each for each in (*known.generic, *known.private)}
    return [f"{name}={value}" for name, value in options.items() if name not in named or not fits(named[name], value)]


def fits(option: CodecOption, value: str) -> bool:
    """A name where there are names (FFmpeg would round a number such as level 3.3), else a number in the range."""
    if option.choices:
        return value in {choice.name for choice in option.choices}
    if option.type.name in ("STRING", "DICT"):
        return True
    try:
        return option.min <= float(value) <= option.max
    except ValueError:
        return False


OPTIONS = {
    "NVENC live, 480p": (nvenc.ENCODER, nvenc.live_options(900_000, 640 * 480)),
    "NVENC live, 720p": (nvenc.ENCODER, nvenc.live_options(2_800_000, 1280 * 720)),
    "NVENC live, 1080p": (nvenc.ENCODER, nvenc.live_options(6_000_000, 1920 * 1080)),
    "NVENC live, 2160p": (nvenc.ENCODER, nvenc.live_options(6_000_000, 3840 * 2160)),
    "NVENC file": (nvenc.ENCODER, nvenc.file_options(20.0)),
    "NVENC file, 51": (nvenc.ENCODER, nvenc.file_options(51.0)),
    "NVENC file, 0": (nvenc.ENCODER, nvenc.file_options(0.0)),
    "x264 live": ("libx264", video_codec._x264_options(2_800_000, 1280 * 720)),
    "VP8 live": ("libvpx", video_codec._vp8_options(900_000)),
    "x264 file": ("libx264", writer._x264(Encoding())),
    "VP9 file": ("libvpx-vp9", writer._vp9(Encoding())),
}


@pytest.mark.parametrize(("encoder", "options"), OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_and_value_exists_in_the_installed_ffmpeg(encoder: str, options: dict[str, str]) -> None:
    assert wrong_options(encoder, options) == []


@pytest.mark.parametrize(
    "wrong",
    [{"forced_idr": "1"}, {"tune": "ultralow"}, {"preset": "p8"}, {"level": "3.3"}, {"rc": "crf"}, {"qp": "52"}],
)
def test_a_typo_in_a_name_or_a_value_would_be_found(wrong: dict[str, str]) -> None:
    assert wrong_options(nvenc.ENCODER, wrong) != []


def test_the_live_stream_is_what_the_answer_promises() -> None:
    """RFC 6184: profile-level-id 42e01f is constrained baseline (no CABAC, no B pictures) at level 3.1."""
    options = nvenc.live_options(2_800_000, 1280 * 720)
    promised = {"profile": "baseline", "level": "3.1", "coder": "cavlc", "bf": "0"}
    assert promised.items() <= options.items()


def test_the_levels_are_those_of_the_processors_encoder() -> None:
    for height, width in ((480, 640), (720, 1280), (1080, 1920)):
        card = nvenc.level_of(height * width).replace(".", "")
        assert card == video_codec._x264_options(1_000_000, height * width)["level"]


# -- the configuration ------------------------------------------------------------------------------------------------


def test_the_card_is_a_table_of_the_one_file() -> None:
    config = parse_config('[codecs]\ndevice = "auto"\ncard = 1', "visavis.toml")
    assert config.codecs == CodecsConfig(device="auto", card=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[codecs]\ndevice = "cuda"', '[codecs] device is \'cuda\', it must be "auto" or "cpu" or "nvidia"'),
        ("[codecs]\ncard = -1", "[codecs] card is -1, it must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(text: str, found: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "visavis.toml")
    assert found in str(raised.value)


def test_vp8_alone_and_the_card_alone_do_not_go_together() -> None:
    config = Config(codecs=NVIDIA, peer=PeerConfig(video_codec="vp8"))
    with pytest.raises(ConfigError, match=r"no card encodes VP8.*\"auto\" or \"h264\""):
        open_codecs(config)


def test_a_server_that_was_to_find_out_says_what_it_found(caplog: pytest.LogCaptureFixture) -> None:
    # Whatever a command has set for the process's log.
    caplog.set_level("INFO", logger="stream")
    codecs = open_codecs(Config(codecs=AUTO))
    assert caplog.messages == [str(codecs)]
    caplog.clear()
    open_codecs(Config())
    assert caplog.messages == []
