"""A tick from boxes in host memory to boxes in host memory, and how many live sessions a card carries."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Self
from unittest import mock

import numpy as np

from benchmarks.batcher import Case, CountingPainter, Still, offer
from benchmarks.harness import percentiles
from kernels.cuda import boxes
from kernels.cuda.device import Device
from kernels.identity import IdentityBank
from kernels.yuv import Region
from models.card_engine import CardEngine
from models.manifest import EngineManifest
from stream.batcher import GATHER_NS
from stream.card_painter import CardPainter
from stream.card_picture import CardPicture, CardRoom
from stream.frames import NS_PER_MS, Planes, VideoFrame
from stream.painter import Shot

FACES = (1, 2, 4, 8, 16, 32, 64)
SESSIONS = (16, 32, 64, 100, 128, 192, 256)
_MISSED = 0.005
_WARM_UP = 30
_COPIES = ("pack", "unpack")
# As many poses as a bank keeps, far enough from each other to be told apart.
_POSES, _POSE_STEP, _NOSE_TIP = (6, 4), 0.07, 1


class Waits:
    """A device that notes how long its caller waits for it: the rest of a tick is this process's own work."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.waited_ns = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the device has
        return getattr(self._device, name)

    def synchronise(self) -> None:
        """See `Device`."""
        begun_ns = time.thread_time_ns()
        self._device.synchronise()
        self.waited_ns += time.thread_time_ns() - begun_ns


class Copies:
    """Notes, while it is entered, what copying boxes out of pictures and back takes of the processor.

    Attributes:
        bytes: Copied in all.
        took_ns: Of each tick; whoever begins one appends a 0.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.took_ns: list[int] = []
        self._patches = [mock.patch.object(boxes, name, self._noted(getattr(boxes, name))) for name in _COPIES]

    def _noted(self, copy: Callable[..., int]) -> Callable[..., int]:
        def noted(*arguments: Any) -> int:  # noqa: ANN401 - whatever the copy takes
            begun_ns = time.thread_time_ns()
            copied = copy(*arguments)
            self.took_ns[-1] += time.thread_time_ns() - begun_ns
            self.bytes += copied
            return copied

        return noted

    def __enter__(self) -> Self:
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()


class Tick(NamedTuple):
    """What a tick took.

    Attributes:
        ms: From boxes to boxes.
        python_us: Of the processor, for each face, all of the engine's thread but the waiting for the card.
    """

    ms: float
    python_us: float


def ticks(
    engine: CardEngine,
    manifest: EngineManifest,
    *,
    faces: Sequence[int] = FACES,
    repeats: int = 200,
    height: int = 720,
    width: int = 1280,
    stay: bool = False,
) -> list[dict[str, Any]]:
    """Time whole ticks: upload, crop, generate, paste, download, for so many sessions at once.

    Where pictures `stay` on the card, as a decoder there has left them, nothing but tables goes up and nothing comes
    down; they are held against those of the way up and down first.

    `python_us` is what the processor does for each face, all of a tick but the waiting for the card; `copies_us` is
    the part of it that copies boxes, `rest_us` the other one, and `copy_floor_us` what copying so many bytes of memory
    that no cache holds takes at least. Every head moves through as many poses as a bank keeps.

    Raises:
        RuntimeError: What is drawn on the card is not what would have been drawn in memory.
    """
    waits = Waits(engine.device)
    painter = CardPainter(CardEngine(engine.network, waits), manifest.crop)
    painter.warm_up()
    picture = Still(manifest.crop.size_px, manifest.mel.columns, height, width)
    if stay:
        check_the_same(painter, waits, picture, height)
    gb_s = copy_gb_s()
    rows: list[dict[str, Any]] = []
    for count in faces:
        if count > painter.max_batch:
            rows.append({"faces": count, "not_measured": f"the engine takes at most {painter.max_batch}"})
            continue
        surfaces = [Surface(waits, picture) if stay else None for _ in range(count)]
        sessions = [_Session(painter.identity, picture, height, each) for each in surfaces]
        for _ in range(_WARM_UP):
            _timed(painter, waits, [each.shot() for each in sessions])
        measured = [_timed(painter, waits, [each.shot() for each in sessions]) for _ in range(repeats)]
        # In ticks of their own, as to ask for the time takes a microsecond.
        with Copies() as copies:
            for _ in range(repeats):
                copies.took_ns.append(0)
                _timed(painter, waits, [each.shot() for each in sessions])
        copied = percentiles([each / 1e3 / count for each in copies.took_ns])
        rows.append(
            {
                "faces": count,
                "picture": f"{width}x{height}",
                "stays_on_card": stay,
                "ms": asdict(percentiles([each.ms for each in measured])),
                "python_us": asdict(percentiles([each.python_us for each in measured])),
                "copies_us": asdict(copied),
                "rest_us": asdict(percentiles([each.python_us - copied.p50 for each in measured])),
                "copied_bytes": copies.bytes / repeats / count,
                "copy_floor_us": copies.bytes / repeats / count / gb_s / 1e3,
                "faces_s": 1e3 * count / percentiles([each.ms for each in measured]).p50,
            }
        )
        for surface in surfaces:
            if surface is not None:
                surface.close()
    painter.close()
    return rows


def check_the_same(painter: CardPainter, device: Device, picture: Still, height: int) -> None:
    """Draw one face in memory and one on the card.

    Raises:
        RuntimeError: They differ.
    """
    surface = Surface(device, picture)
    shots = [_Session(painter.identity, picture, height, where).shot() for where in (None, surface)]
    # One after the other: a batch of two may be added up in another order.
    if failed := [each for shot in shots for each in painter.paint([shot]) if each is not None]:
        raise failed[0]
    pairs = zip(*(shot.frame.planes for shot in shots), strict=True)
    worst = max(int(np.abs(one.astype(int) - other).max()) for one, other in pairs)
    surface.close()
    if worst:
        raise RuntimeError(f"a face drawn on the card differs by {worst} levels from the same one drawn in memory")


class Surface:
    """A picture in NV12 on a card, as its decoder has left it; it is drawn in over and over."""

    def __init__(self, device: Device, picture: Still) -> None:
        frame = picture.at(0).frame
        luma, *chromas = frame.planes
        self._device = device
        self._height, self._width = luma.shape
        self._bytes = luma.nbytes * 3 // 2
        self._address = device.allocate(self._bytes)
        packed = np.concatenate([luma.ravel(), np.stack(chromas, axis=-1).ravel()])
        device.to_device(self._address, packed)
        device.synchronise()
        self._at = boxes.interleaved_in(Region(0, 0, self._height, self._width), self._address)
        self._room = CardRoom(self._bytes)

    def holding(self, frame: VideoFrame) -> VideoFrame:
        """The frame with the card's picture, which has come down as for whoever looks for faces."""
        self._room = CardRoom(self._bytes)
        self._room.take(self._bytes)
        held = replace(frame, picture=CardPicture(self._at, self._device, self, self._down, self._room))
        assert held.planes
        return held

    def _down(self) -> Planes:
        packed = np.empty(self._bytes, np.uint8)
        self._device.to_host(packed, self._address)
        self._device.synchronise()
        luma, pairs = np.split(packed.reshape(-1, self._width), [self._height])
        return luma, pairs[:, 0::2], pairs[:, 1::2]

    def close(self) -> None:
        """Give its room back."""
        self._device.free(self._address)


def _timed(painter: CardPainter, waits: Waits, shots: Sequence[Shot]) -> Tick:
    waits.waited_ns = 0
    begun_ns, used_ns = time.perf_counter_ns(), time.thread_time_ns()
    verdicts = painter.paint(shots)
    used_ns, took_ns = time.thread_time_ns() - used_ns, time.perf_counter_ns() - begun_ns
    if failed := [each for each in verdicts if each is not None]:
        raise failed[0]
    return Tick(took_ns / 1e6, (used_ns - waits.waited_ns) / 1e3 / len(shots))


class _Session:
    """One speaker, whose head moves from pose to pose."""

    def __init__(self, policy: str, picture: Still, height: int, surface: Surface | None = None) -> None:
        self._surface = surface
        self._bank: IdentityBank[Any] | None = (
            None if policy == "same_frame" else IdentityBank(opened=policy == "open_mouth")
        )
        self._picture = picture
        self._step_px = height / 8 * _POSE_STEP
        self._tick = 0

    def shot(self) -> Shot:
        """Its next picture."""
        item = self._picture.at(self._tick * 40 * NS_PER_MS)
        (face,) = item.faces
        across, down = self._tick % _POSES[0], self._tick // _POSES[0] % _POSES[1]
        landmarks = face.landmarks.copy()
        landmarks[_NOSE_TIP] += (self._step_px * across, self._step_px * down)
        self._tick += 1
        assert item.mel is not None
        frame = item.frame if self._surface is None else self._surface.holding(item.frame)
        return Shot(frame, replace(face, landmarks=landmarks), item.mel, 1.0, self._bank)


def copy_gb_s(mb: int = 64, repeats: int = 5) -> float:
    """What one core copies of memory that no cache holds, read once and written once, in 1e9 bytes a second."""
    source, into = (np.full(mb << 20, each, np.uint8) for each in (1, 2))
    took_ns = []
    for _ in range(repeats):
        begun_ns = time.perf_counter_ns()
        into[:] = source
        took_ns.append(time.perf_counter_ns() - begun_ns)
    return source.nbytes / min(took_ns)


def sessions(
    engine: CardEngine, manifest: EngineManifest, *, counts: Sequence[int] = SESSIONS, seconds: float = 20.0
) -> list[dict[str, Any]]:
    """Offer 25 pictures a second from more and more sessions, until one in two hundred is missed."""
    painter = CardPainter(engine, manifest.crop)
    painter.warm_up()
    picture = Still(manifest.crop.size_px, manifest.mel.columns, 480, 640)
    rows = []
    for count in counts:
        case = Case("card", "edf", GATHER_NS / NS_PER_MS, count)
        rows.append(asyncio.run(offer(case, CountingPainter(painter), picture, seconds)))
        if rows[-1]["missed_share"] > _MISSED:
            break
    painter.close()
    return rows
