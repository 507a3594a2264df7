"""A card that the processor plays: it records what it is asked for, gives NV12 as NVDEC does, fails when told to.

Where it is given a `FakeCard`, its decoders may leave pictures in that card's memory, and its encoders take them from
there. What is released is poisoned and has to stay so.
"""

import ctypes
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from kernels.cuda.device import Device
from stream.card_picture import CardRoom
from stream.media.codec_device import Codecs, SharedCard
from tests.kernels.cuda.fake_card import FakeCard

_RELEASED = 0xDD

# What FFmpeg makes of an error that a driver's library gives (AVERROR_EXTERNAL), and of an encoder's limit of sessions.
BROKEN = av.error.ExternalError(-542398533, "Generic error in an external library")
FULL = av.error.MemoryError(12, "Cannot allocate memory")


class Card:
    """Opens codecs.

    Args:
        refuses: Names that do not open, or open and then fail at their first use.
        fails_at: Call of `encode` or `decode`, counted from 1 over all contexts of a mode, that fails.
        fault: What it fails with.
        late: Whether it gives each picture one call later.
        baseline: Whether it keeps to the profile and the level that it is asked for.
        memory: The card whose memory decoded pictures may stay in.

    Attributes:
        downloads: Bytes that decoded pictures have brought into memory.
        released: Memory of pictures that nobody holds any more.
    """

    def __init__(
        self,
        *,
        refuses: tuple[str, ...] = (),
        fails_at: dict[str, int] | None = None,
        fault: Exception = BROKEN,
        late: bool = False,
        baseline: bool = True,
        memory: FakeCard | None = None,
    ) -> None:
        self.refuses, self.fails_at, self.fault, self.late = refuses, fails_at or {}, fault, late
        self.baseline = baseline
        self.opened: list[tuple[str, str, int | None]] = []
        self.contexts: list[CardContext] = []
        self.calls: Counter[str] = Counter()
        self.memory = memory
        self.downloads = 0
        self.released: list[ctypes.Array[ctypes.c_ubyte]] = []

    def open(self, name: str, mode: Literal["r", "w"], card: int | None) -> Any:
        self.opened.append((name, mode, card))
        if card is None:
            return av.CodecContext.create(name, mode)
        if name in self.refuses:
            raise self.fault
        self.contexts.append(CardContext(self, name, mode))
        return self.contexts[-1]

    def open_shared(self, name: str, mode: Literal["r", "w"], device: Device) -> Any:
        with device.current():
            context = self.open(name, mode, device.index)
        context.memory = self.memory
        return context

    def untouched(self) -> bool:
        """Whether nobody has written into the memory of pictures that were released."""
        return all(set(bytes(each)) == {_RELEASED} for each in self.released)

    def open_file(self, path: Path, card: int) -> InputContainer:
        self.opened.append((path.name, "file", card))
        if "file" in self.refuses:
            raise self.fault
        return cast("InputContainer", CardFile(self, av.open(str(path), "r", metadata_errors="replace")))

    def count(self, mode: str) -> None:
        self.calls[mode] += 1
        if self.calls[mode] == self.fails_at.get(mode):
            raise self.fault

    def codecs(self, *, strict: bool = False) -> Codecs:
        return Codecs(decode="nvidia", encode="nvidia", card=0, strict=strict, open=self.open, open_file=self.open_file)

    def shared(self, device: Device, most: int = 1 << 26) -> Codecs:
        """Codecs in the context of a device on `memory`."""
        return replace(self.codecs(), shared=SharedCard(lambda: device, CardRoom(most), self.open_shared))


class CardContext:
    """A codec of the card: takes the attributes that PyAV's contexts take, works with the processor's codec."""

    is_hwaccel = True
    width = height = bit_rate = gop_size = thread_count = flags = 0
    colorspace = color_range = 2
    pix_fmt = ""
    framerate = time_base = Fraction(0)
    memory: FakeCard | None = None

    def __init__(self, card: Card, name: str, mode: Literal["r", "w"]) -> None:
        self.name, self.mode, self.options = name, mode, dict[str, str]()
        self._card = card
        self._held: list[Any] = []
        self._inner: Any = av.CodecContext.create({"h264": "h264", "vp8": "libvpx"}[name], "r") if mode == "r" else None

    def decode(self, packet: Any) -> list[Any]:
        self._card.count("r")
        if not self._inner.is_open:
            self._inner.thread_count, self._inner.flags = self.thread_count, self._inner.flags | self.flags
        pictures = [frame.reformat(format="nv12") for frame in self._inner.decode(packet)]
        if self.memory is not None:
            return [SurfaceFrame(self._card, self.memory, picture) for picture in pictures]
        return self._late(pictures)

    def encode(self, picture: Any) -> list[Any]:
        self._card.count("w")
        if self._inner is None:
            self._inner = self._x264()
        if isinstance(picture, SurfaceFrame):
            picture = picture.as_encoded()
        return self._late(self._inner.encode(picture))

    def open(self) -> None:
        self._card.count("w")

    def _late(self, items: list[Any]) -> list[Any]:
        if not self._card.late:
            return items
        self._held += items
        ready, self._held = self._held[:-1], self._held[-1:]
        return ready

    def _x264(self) -> Any:
        context: Any = av.CodecContext.create("libx264", "w")
        for name in ("width", "height", "pix_fmt", "framerate", "time_base", "bit_rate", "gop_size"):
            setattr(context, name, getattr(self, name))
        context.colorspace, context.color_range = self.colorspace, self.color_range
        context.profile = "Baseline" if self._card.baseline else "High"
        # Ultrafast has nothing that asks for the high profile; 8x8 transforms do.
        speed = {"preset": "ultrafast"} if self._card.baseline else {"preset": "veryfast"}
        level = {"level": self.options["level"]}
        context.options = {**speed, **level, "tune": "zerolatency", "forced-idr": "1", "sc_threshold": "0"}
        return context


class SurfaceFrame:
    """An `av.VideoFrame` in the memory of a card, as far as ours looks at one.

    The pitch is no multiple of anything, and chroma lies behind more rows than are seen, as NVDEC's does.
    """

    format = types.SimpleNamespace(name="cuda")
    sw_format = types.SimpleNamespace(name="nv12")

    def __init__(self, card: Card, memory: FakeCard, picture: Any) -> None:
        self._card, self._memory = card, memory
        self.width, self.height, self.pts = picture.width, picture.height, picture.pts
        self.colorspace, self.color_range = picture.colorspace, picture.color_range
        self.pict_type, self.time_base = picture.pict_type, picture.time_base
        pitch, rows = self.width + 13, (self.height + 15) // 16 * 16
        self._size = pitch * (rows + (self.height + 1) // 2)
        self._address = memory.take(self._size)
        self.planes = [
            types.SimpleNamespace(buffer_ptr=self._address, line_size=pitch),
            types.SimpleNamespace(buffer_ptr=self._address + pitch * rows, line_size=pitch),
        ]
        for plane, source in zip(self._rows(), _planes(picture), strict=True):
            plane[:, : source.shape[1]] = source

    def _rows(self) -> list[NDArray[np.uint8]]:
        """The planes as the card's memory has them now."""
        heights = self.height, (self.height + 1) // 2
        return [
            np.ctypeslib.as_array((ctypes.c_ubyte * (at.line_size * height)).from_address(at.buffer_ptr)).reshape(
                height, at.line_size
            )[:, : self.width + self.width % 2]
            for at, height in zip(self.planes, heights, strict=True)
        ]

    def _picture(self) -> Any:
        picture: Any = av.VideoFrame(self.width, self.height, "nv12")
        for plane, source in zip(_planes(picture), self._rows(), strict=True):
            plane[...] = source[:, : plane.shape[1]]
        picture.colorspace, picture.color_range, picture.pts = self.colorspace, self.color_range, self.pts
        return picture

    def reformat(self, format: str) -> Any:  # noqa: A002 - av's name
        """Bring it down, as PyAV does before it converts."""
        self._card.downloads += self.width * self.height * 3 // 2
        return self._picture().reformat(format=format)

    def as_encoded(self) -> Any:
        picture = self._picture()
        picture.pict_type, picture.time_base = self.pict_type, self.time_base
        return picture

    def __del__(self) -> None:
        if self._address in self._memory.buffers:
            buffer, _ = self._memory.buffers[self._address]
            self._memory.free(self._address)
            ctypes.memset(buffer, _RELEASED, len(buffer))
            self._card.released.append(buffer)


def _planes(picture: Any) -> list[NDArray[np.uint8]]:
    """Both planes of an NV12 picture in memory, which may be written."""
    width = picture.width + picture.width % 2
    heights = picture.height, (picture.height + 1) // 2
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : width if index else picture.width]
        for index, (plane, height) in enumerate(zip(picture.planes, heights, strict=True))
    ]


class CardFile:
    """A clip whose packets the card decodes."""

    def __init__(self, card: Card, container: InputContainer) -> None:
        self._card, self._container = card, container
        self.streams = container.streams

    def demux(self, *streams: Any) -> "Iterator[CardPacket]":
        return (CardPacket(self._card, packet) for packet in self._container.demux(*streams))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()


class CardPacket:
    """A packet that becomes a picture in NV12."""

    def __init__(self, card: Card, packet: Any) -> None:
        self._card, self._packet = card, packet

    def decode(self) -> list[Any]:
        self._card.count("r")
        return [self._nv12(picture) for picture in self._packet.decode()]

    def _nv12(self, picture: Any) -> Any:
        return picture.reformat(format="nv12") if picture.format.name == "yuv420p" else picture
