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
from models.card_engine import CardEngine
from models.manifest import EngineManifest
from stream.batcher import GATHER_NS
from stream.card_painter import CardPainter
from stream.frames import NS_PER_MS
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
) -> list[dict[str, Any]]:
    """Time whole ticks: upload, crop, generate, paste, download, for so many sessions at once.

    `python_us` is what the processor does for each face, all of a tick but the waiting for the card; `copies_us` is
    the part of it that copies boxes, `rest_us` the other one, and `copy_floor_us` what copying so many bytes of memory
    that no cache holds takes at least. Every head moves through as many poses as a bank keeps.
    """
    waits = Waits(engine.device)
    painter = CardPainter(CardEngine(engine.network, waits), manifest.crop)
    painter.warm_up()
    picture = Still(manifest.crop.size_px, manifest.mel.columns, height, width)
    gb_s = copy_gb_s()
    rows: list[dict[str, Any]] = []
    for count in faces:
        if count > painter.max_batch:
            rows.append({"faces": count, "not_measured": f"the engine takes at most {painter.max_batch}"})
            continue
        sessions = [_Session(painter.identity, picture, height) for _ in range(count)]
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
                "ms": asdict(percentiles([each.ms for each in measured])),
                "python_us": asdict(percentiles([each.python_us for each in measured])),
                "copies_us": asdict(copied),
                "rest_us": asdict(percentiles([each.python_us - copied.p50 for each in measured])),
                "copied_bytes": copies.bytes / repeats / count,
                "copy_floor_us": copies.bytes / repeats / count / gb_s / 1e3,
                "faces_s": 1e3 * count / percentiles([each.ms for each in measured]).p50,
            }
        )
    painter.close()
    return rows


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

    def __init__(self, policy: str, picture: Still, height: int) -> None:
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
        return Shot(item.frame, replace(face, landmarks=landmarks), item.mel, 1.0, self._bank)


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
