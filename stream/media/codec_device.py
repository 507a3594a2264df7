"""Who decodes and encodes pictures: the processor, or the video units (NVDEC, NVENC) of an NVIDIA card.

The processor does, unless the operator asks for the card. What is asked for is tried once at the start, with one
picture each way; later nothing changes sides without a log line and a count.

On the card's side pictures cross the bus: PyAV brings a decoded one into memory (one copy of NV12, 1.4 MB at 1280x720)
and takes one to encode from there. Where the generator runs on the same card they need not: then codecs are opened in
the CUDA context that its kernels run in, the decoder leaves its pictures on the card (`is_hw_owned`), and the encoder
takes them from there (`SharedCard`, decision 26).
"""

import ctypes
import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import av
import av.logging
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from kernels.cuda.device import Device, DeviceError
from stream.card_picture import CardRoom
from stream.errors import ConfigError
from stream.media import nvenc

CodecDevice = Literal["auto", "cpu", "nvidia"]
Side = Literal["cpu", "nvidia"]
Unit = Literal["decode", "encode"]
OpenCodec = Callable[[str, Literal["r", "w"], int | None], Any]
OpenShared = Callable[[str, Literal["r", "w"], Device], Any]
OpenFile = Callable[[Path, int], InputContainer]

T = TypeVar("T")

log = logging.getLogger(__name__)

_DRIVER = "libcuda.so.1"
_LIBRARY: dict[Unit, str] = {"decode": "libnvcuvid.so.1", "encode": "libnvidia-encode.so.1"}
_NAME: dict[Unit, str] = {"decode": "NVDEC", "encode": "NVENC"}
# A grey picture of 160x128, H.264 constrained baseline: parameter sets and an IDR picture.
GREY_KEYFRAME = bytes.fromhex(
    "000000016742c01fda0a11a10000030001000003003c8f1832a0"
    "0000000168ce039c80"
    "000000016588843a272727272727272727275d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75d75"
    "d75d75d75d75d75d75d75d75d75d75d75d75d75d78"
)
# The smallest common size: some cards encode nothing below 145x49.
_TRIAL_WIDTH, _TRIAL_HEIGHT, _TRIAL_BPS = 320, 240, 500_000


class CardFault(Exception):  # noqa: N818 - what the card has, not what our code did
    """The card did not do what it was asked for, without an error of its own."""


# What a codec of the card can fail with. Damaged data is no fault of the card: `av.error.InvalidDataError`.
CARD_FAULTS = (av.FFmpegError, NotImplementedError, CardFault)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecsConfig:
    """Who decodes and encodes pictures.

    Attributes:
        device: "cpu"; "nvidia" refuses to start where the card cannot do both; "auto" takes
            from the card what it can do and says at the start what that is. VP8 is always
            encoded by the processor, as no card encodes it; and a call whose codec fails on
            the card goes on with the processor's, whatever is set here.
        card: Its number, in the driver's order.
        card_pictures_mb: What decoded pictures of all sessions may take of the card while they wait there for lips
            and for the encoder, where the generator runs on it too; those beyond it wait in memory, and 0 keeps none.
    """

    device: CodecDevice = "cpu"
    card: int = 0
    card_pictures_mb: int = 1024

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("card", "card_pictures_mb"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be 0 or more")


def cuda_device(card: int, *, software_too: bool = False, primary: bool = True) -> HWAccel:
    """How PyAV is told to use a card.

    Args:
        card: Its number.
        software_too: Whether the processor may decode what the card does not know.
        primary: Whether on the card's primary context, which costs its memory once, not once for each codec.
    """
    options: dict[str, object] = {"primary_ctx": "1"} if primary else {}
    return HWAccel("cuda", card, allow_software_fallback=software_too, options=options)


def open_codec(name: str, mode: Literal["r", "w"], card: int | None) -> Any:  # noqa: ANN401 - av's classes differ between stubs
    """Make a codec's context; `card` None means on the processor.

    Raises:
        av.FFmpegError, NotImplementedError, CardFault: The card has no such codec.
    """
    if card is None:
        return av.CodecContext.create(name, mode)
    context = _on_card(card, lambda device: av.CodecContext.create(name, mode, device))
    if not context.is_hwaccel:
        raise CardFault(f"this FFmpeg has no {name} for NVIDIA's cards")
    return context


def open_shared(name: str, mode: Literal["r", "w"], device: Device) -> Any:  # noqa: ANN401 - av's classes differ between stubs
    """Make a codec's context in the CUDA context of a device, and have a decoder's pictures stay there.

    Not by `primary_ctx`: FFmpeg refuses a primary context that was begun with other scheduling flags than its own, as
    pycuda's and torch's are, and memory of another context is of no use to a kernel. It takes the current one as it is.

    Raises:
        av.FFmpegError, NotImplementedError, CardFault: The card has no such codec.
    """
    # PyAV asks for the primary context where this is not said.
    options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
    hwaccel = HWAccel("cuda", device.index, allow_software_fallback=False, options=options, is_hw_owned=True)
    try:
        with device.current():
            context = av.CodecContext.create(name, mode, hwaccel)
    except DeviceError as error:
        raise CardFault(str(error)) from error
    if not context.is_hwaccel:
        raise CardFault(f"this FFmpeg has no {name} for NVIDIA's cards")
    return context


def open_file(path: Path, card: int) -> InputContainer:
    """Open a clip that is there, its pictures decoded on a card where the card knows their codec and their format.

    Raises:
        av.FFmpegError: The card cannot be used, or the file cannot be read.
    """
    return _on_card(
        card,
        lambda device: av.open(str(path), "r", metadata_errors="replace", hwaccel=device),
        software_too=True,
    )


def _on_card(card: int, make: Callable[[HWAccel], T], *, software_too: bool = False) -> T:
    """Make something on the primary context, or on one of its own where that one cannot be had.

    FFmpeg refuses a primary context that somebody began with other scheduling flags (`cuda_context_init` in
    `hwcontext_cuda.c`), as torch does. A context of its own costs memory and nothing else.
    """
    try:
        return make(cuda_device(card, software_too=software_too))
    except av.FFmpegError as error:
        if error.errno != errno.ENOTSUP:
            raise
    log.info("card %d's primary context is in use with other flags: a codec takes one of its own", card)
    return make(cuda_device(card, software_too=software_too, primary=False))


@dataclass(frozen=True, slots=True)
class SharedCard:
    """The card that generates and codes: decoded pictures may stay on it until they are encoded.

    Attributes:
        device: The device that draws now; None while there is none. Another one after the engine was opened anew.
        room: What pictures may take of it.
        open: Makes a codec's context.
    """

    device: Callable[[], Device | None]
    room: CardRoom
    open: OpenShared = open_shared

    def check(self, device: Device | None) -> None:
        """See to it that a codec's CUDA context is still the engine's.

        Raises:
            CardFault: The engine was opened anew, and what lay in the old context is gone.
        """
        if device is not self.device():
            raise CardFault("the engine on this card was opened anew")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """Which side does what; made once for a process, given to every peer and every file.

    Attributes:
        decode: Where H.264 and VP8 are decoded.
        encode: Where H.264 is encoded.
        card: The card's number.
        strict: The operator wants the card or nothing.
        missing: Why the card does not do what it was tried for.
        open: Makes a codec's context.
        open_file: Opens a clip to be decoded on the card.
        shared: Where pictures may stay on the card; None where they always cross the bus.
    """

    decode: Side = "cpu"
    encode: Side = "cpu"
    card: int = 0
    strict: bool = False
    missing: tuple[str, ...] = ()
    open: OpenCodec = open_codec
    open_file: OpenFile = open_file
    shared: SharedCard | None = None

    def __str__(self) -> str:
        """One line for the log."""
        who = {"cpu": "the processor", "nvidia": f"card {self.card}"}
        why = f" ({'; '.join(self.missing)})" if self.missing else ""
        stay = "" if self.shared is None else ", and may stay there between"
        return f"pictures are decoded by {who[self.decode]} and encoded by {who[self.encode]}{stay}{why}"

    def open_on_card(self, name: str, mode: Literal["r", "w"]) -> tuple[Any, Device | None]:
        """Make a context of the card's, and say in whose CUDA context pictures may stay; None where in nobody's.

        Raises:
            av.FFmpegError, NotImplementedError, CardFault: The card has no such codec.
        """
        device = None if self.shared is None else self.shared.device()
        if self.shared is None or device is None:
            return self.open(name, mode, self.card), None
        return self.shared.open(name, mode, device), device

    def sharing(self, device: Callable[[], Device | None], pictures_mb: int) -> "Codecs":
        """The same, with pictures that stay on the card where a generator's device and both codecs are on one."""
        drawing = device()
        both = self.decode == self.encode == "nvidia"
        if not (both and pictures_mb and drawing is not None and drawing.index == self.card):
            return self
        return replace(self, shared=SharedCard(device, CardRoom(pictures_mb << 20)))


CPU = Codecs()


def has_library(name: str) -> bool:
    """Whether the system's loader finds a library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def choose(config: CodecsConfig, *, opener: OpenCodec = open_codec, has: Callable[[str], bool] = has_library) -> Codecs:
    """Find out who decodes and who encodes, by trying it; whoever asks says so, at "auto" above all.

    Args:
        config: What the operator wants.
        opener: Makes a codec's context.
        has: Whether a library of the driver is there.

    Raises:
        ConfigError: "nvidia" is asked for and the card cannot do both.
    """
    if config.device == "cpu":
        return CPU
    missing = _missing(config.card, opener, has)
    if missing and config.device == "nvidia":
        raise ConfigError(_refusal(missing))
    return Codecs(
        decode="cpu" if "decode" in missing else "nvidia",
        encode="cpu" if "encode" in missing else "nvidia",
        card=config.card,
        strict=config.device == "nvidia",
        missing=tuple(dict.fromkeys(missing.values())),
        open=opener,
    )


def _missing(card: int, opener: OpenCodec, has: Callable[[str], bool]) -> dict[Unit, str]:
    """What the card cannot do, and why."""
    if not has(_DRIVER):
        reason = f"there is no NVIDIA driver: {_DRIVER} is not found"
        return {"decode": reason, "encode": reason}
    reasons = {unit: _why_not(unit, card, opener, has) for unit in _LIBRARY}
    return {unit: reason for unit, reason in reasons.items() if reason is not None}


def _why_not(unit: Unit, card: int, opener: OpenCodec, has: Callable[[str], bool]) -> str | None:
    library, attempt = _LIBRARY[unit], {"decode": try_decoder, "encode": try_encoder}[unit]
    if not has(library):
        return f"the driver's {library} is not found"
    level = av.logging.get_level()
    # PyAV is silent by default, and FFmpeg tells only its log which part failed.
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            attempt(opener, card)
    except CARD_FAULTS as error:
        lines = list(dict.fromkeys(message.strip(" .\n") for _, _, message in said)) or [str(error)]
        return f"{_NAME[unit]} of card {card} does not work: {'; '.join(lines)}"
    finally:
        av.logging.set_level(level)
    return None


def try_decoder(opener: OpenCodec, card: int) -> None:
    """Decode one picture.

    Raises:
        av.FFmpegError, NotImplementedError, CardFault: It did not work.
    """
    context = opener("h264", "r", card)
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.low_delay
    if len(context.decode(av.Packet(GREY_KEYFRAME))) != 1:
        raise CardFault("it holds pictures back")


def try_encoder(opener: OpenCodec, card: int) -> None:
    """Encode one picture with the live path's settings.

    Raises:
        av.FFmpegError, NotImplementedError, CardFault: It did not work.
    """
    context = opener(nvenc.ENCODER, "w", card)
    context.width, context.height, context.pix_fmt = _TRIAL_WIDTH, _TRIAL_HEIGHT, "yuv420p"
    context.framerate, context.time_base = Fraction(30), Fraction(1, 30)
    context.bit_rate = _TRIAL_BPS
    context.options = nvenc.live_options(_TRIAL_BPS, _TRIAL_WIDTH * _TRIAL_HEIGHT)
    picture = cast("Any", av.VideoFrame(_TRIAL_WIDTH, _TRIAL_HEIGHT, "yuv420p"))
    for plane in picture.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    picture.pts = 0
    if len(context.encode(picture)) != 1:
        raise CardFault("it holds pictures back")


def _refusal(missing: dict[Unit, str]) -> str:
    reasons = "; ".join(dict.fromkeys(missing.values()))
    remedy = 'set [codecs] device = "cpu"'
    if "decode" not in missing:
        remedy += ', or "auto" to decode on the card (some cards have no encoder, H100 and H200 among them)'
    else:
        remedy += ", or install NVIDIA's driver (a container: --gpus all, and video in NVIDIA_DRIVER_CAPABILITIES)"
    return f'[codecs] device is "nvidia", and {reasons}. Remedy: {remedy}'
