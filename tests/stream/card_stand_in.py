"""A card that the processor plays: it records what it is asked for, gives NV12 as NVDEC does, fails when told to."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import av
from av.container import InputContainer

from stream.media.codec_device import Codecs

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
    """

    def __init__(
        self,
        *,
        refuses: tuple[str, ...] = (),
        fails_at: dict[str, int] | None = None,
        fault: Exception = BROKEN,
        late: bool = False,
        baseline: bool = True,
    ) -> None:
        self.refuses, self.fails_at, self.fault, self.late = refuses, fails_at or {}, fault, late
        self.baseline = baseline
        self.opened: list[tuple[str, str, int | None]] = []
        self.contexts: list[CardContext] = []
        self.calls: Counter[str] = Counter()

    def open(self, name: str, mode: Literal["r", "w"], card: int | None) -> Any:
        self.opened.append((name, mode, card))
        if card is None:
            return av.CodecContext.create(name, mode)
        if name in self.refuses:
            raise self.fault
        self.contexts.append(CardContext(self, name, mode))
        return self.contexts[-1]

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


class CardContext:
    """A codec of the card: takes the attributes that PyAV's contexts take, works with the processor's codec."""

    is_hwaccel = True
    width = height = bit_rate = gop_size = thread_count = flags = 0
    colorspace = color_range = 2
    pix_fmt = ""
    framerate = time_base = Fraction(0)

    def __init__(self, card: Card, name: str, mode: Literal["r", "w"]) -> None:
        self.name, self.mode, self.options = name, mode, dict[str, str]()
        self._card = card
        self._held: list[Any] = []
        self._inner: Any = av.CodecContext.create({"h264": "h264", "vp8": "libvpx"}[name], "r") if mode == "r" else None

    def decode(self, packet: Any) -> list[Any]:
        self._card.count("r")
        if not self._inner.is_open:
            self._inner.thread_count, self._inner.flags = self.thread_count, self._inner.flags | self.flags
        return self._late([frame.reformat(format="nv12") for frame in self._inner.decode(packet)])

    def encode(self, picture: Any) -> list[Any]:
        self._card.count("w")
        if self._inner is None:
            self._inner = self._x264()
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
