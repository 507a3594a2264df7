"""Every network on every back end of the card: parity with torch in float32, then time and faces a second by batch."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.engines import Network, bundled_feeds
from benchmarks.harness import percentiles
from kernels.cuda.device import DeviceError
from models.card_engine import CardEngine, picture_bytes
from models.catalogue import WEIGHTS, default_cache_folder, load_engine
from models.engine import EngineError
from models.gate import LIMIT_DB, measure_parity
from models.manifest import EngineManifest

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PRECISIONS = {"tensorrt": ("fp16", "int8", "fp8"), "torch-cuda": ("fp16", "fp32")}

Open = Callable[[str, str, str], CardEngine]


def open_on_card(name: str, backend: str, precision: str) -> CardEngine:
    """A network on the card.

    Raises:
        EngineError: The back end, the precision or the card is not there.
    """
    engine = load_engine(name, backend, precision, cache_folder=default_cache_folder(os.environ)).engine
    assert isinstance(engine, CardEngine)
    return engine


def run(
    names: Sequence[str],
    *,
    peak_tflop_s: float | None = None,
    batches: Sequence[int] = BATCHES,
    repeats: int = 100,
    open_engine: Open = open_on_card,
    backends: Sequence[str] = tuple(PRECISIONS),
) -> list[dict[str, Any]]:
    """Check and time; what cannot be opened is a row that says why.

    Args:
        names: Shipped networks.
        peak_tflop_s: The card's half-precision arithmetic as measured.
        batches: Sizes of a batch.
        repeats: How often each is timed.
        open_engine: Opens one.
        backends: Which back ends.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        manifest = Network(name).manifest()
        for backend in backends:
            for precision in PRECISIONS[backend]:
                row = {"network": name, "backend": backend, "precision": precision}
                try:
                    engine = open_engine(name, backend, precision)
                except (EngineError, DeviceError) as error:
                    rows.append(row | {"not_measured": str(error)})
                    continue
                try:
                    parity = _parity(engine, name, manifest, precision)
                    timed = _by_batch(engine, _macs(name), batches, repeats, peak_tflop_s)
                    rows += [row | parity | each for each in timed]
                finally:
                    engine.close()
    return rows


def _parity(engine: CardEngine, name: str, manifest: EngineManifest, precision: str) -> dict[str, Any]:
    feeds = bundled_feeds(manifest)
    reference = load_engine(name, backend="torch")
    expected, found = (np.concatenate([each.infer(feed)["picture"] for feed in feeds]) for each in (reference, engine))
    parity = measure_parity(expected, found, LIMIT_DB.get(precision, LIMIT_DB["int8"]))
    extremes = [
        {"face": np.full_like(feeds[0]["face"], level), "mel": np.full_like(feeds[0]["mel"], sound)}
        for level in (0.0, 1.0)
        for sound in (-4.0, 4.0)
    ]
    finite = all(bool(np.isfinite(engine.infer(feed)["picture"]).all()) for feed in extremes)
    return {"psnr_db": parity.psnr_db, "worst_psnr_db": parity.worst_psnr_db, "finite_at_extremes": finite}


def _macs(name: str) -> int:
    """Multiply-adds of one picture."""
    import torch

    from models.checkpoint import load_generator
    from models.cost import multiply_adds
    from models.generators import generator_inputs

    generator = load_generator(WEIGHTS / name / "generator.safetensors").eval()
    return multiply_adds(
        generator, *(torch.zeros([size or 1 for size in s.shape]) for s in generator_inputs(generator))
    )


def _by_batch(
    engine: CardEngine, macs: int, batches: Sequence[int], repeats: int, peak: float | None
) -> list[dict[str, Any]]:
    device, network, rows = engine.device, engine.network, []
    most = min(max(batches), network.buckets[-1])
    specs = {**network.inputs, **network.outputs}
    rooms = {name: device.allocate(most * picture_bytes(spec)) for name, spec in specs.items()}
    for name, spec in network.inputs.items():
        device.to_device(rooms[name], np.zeros((most, *(size or 1 for size in spec.shape[1:])), spec.dtype))
    device.synchronise()
    try:
        for batch in batches:
            if batch not in network.buckets:
                rows.append({"batch": batch, "not_measured": f"the engine runs {list(network.buckets)}"})
                continue
            ms = percentiles(_times(engine, batch, rooms, repeats))
            row = {"batch": batch, "ms": asdict(ms), "faces_s": 1e3 * batch / ms.p50}
            if peak:
                row["share_of_fp16_peak"] = 2 * macs * batch / ms.p50 / 1e9 / peak
            rows.append(row)
    finally:
        for address in rooms.values():
            device.free(address)
    return rows


def _times(engine: CardEngine, batch: int, rooms: dict[str, int], repeats: int) -> list[float]:
    device, network = engine.device, engine.network

    def work() -> None:
        network.enqueue(batch, rooms, device.stream)

    for _ in range(3):
        work()
    device.synchronise()
    if network.capturable:
        graph = device.capture(work)
        times = [device.timed(graph.launch) for _ in range(repeats)]
        graph.close()
        return times
    return [device.timed(work) for _ in range(repeats)]
