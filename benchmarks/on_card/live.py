"""A tick from boxes in host memory to boxes in host memory, and how many live sessions a card carries."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.batcher import Case, CountingPainter, Still, offer
from benchmarks.harness import percentiles
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


class Waits:
    """A device that notes how long its caller waits for it: the rest of a tick is this process's own work."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.waited_ns = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the device has
        return getattr(self._device, name)

    def synchronise(self) -> None:
        """See `Device`."""
        begun_ns = time.perf_counter_ns()
        self._device.synchronise()
        self.waited_ns += time.perf_counter_ns() - begun_ns


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

    `python_us` is what the processor does for each face: all of a tick but the waiting for the card.
    """
    waits = Waits(engine.device)
    watched = CardEngine(engine.network, waits)
    painter = CardPainter(watched, manifest.crop)
    painter.warm_up()
    picture = Still(manifest.crop.size_px, manifest.mel.columns, height, width)
    rows = []
    for count in faces:
        if count > painter.max_batch:
            rows.append({"faces": count, "not_measured": f"the engine takes at most {painter.max_batch}"})
            continue
        banks = [_bank(painter.identity) for _ in range(count)]
        walls, pythons = [], []
        for tick in range(repeats + 10):
            items = [picture.at(tick * 40 * NS_PER_MS) for _ in range(count)]
            shots = [
                Shot(each.frame, each.faces[0], each.mel, 1.0, bank)
                for each, bank in zip(items, banks, strict=True)
                if each.mel is not None
            ]
            waits.waited_ns = 0
            begun_ns = time.perf_counter_ns()
            verdicts = painter.paint(shots)
            took_ns = time.perf_counter_ns() - begun_ns
            if failed := [each for each in verdicts if each is not None]:
                raise failed[0]
            if tick >= 10:
                walls.append(took_ns / 1e6)
                pythons.append((took_ns - waits.waited_ns) / 1e3 / count)
        rows.append(
            {
                "faces": count,
                "picture": f"{width}x{height}",
                "ms": asdict(percentiles(walls)),
                "python_us": asdict(percentiles(pythons)),
                "faces_s": 1e3 * count / percentiles(walls).p50,
            }
        )
    painter.close()
    return rows


def _bank(policy: str) -> IdentityBank[Any] | None:
    return None if policy == "same_frame" else IdentityBank(opened=policy == "open_mouth")


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
