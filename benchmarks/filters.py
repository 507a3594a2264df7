"""How long a filter takes for one picture: every network, size, precision and thread count.

Weights are first ones unless a filter is shipped: time does not depend on them, and nothing is said about quality.
Every engine is held against torch before it is timed, on pictures of the bundled clip; the published networks are there
for what a real-time variant is compared with.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import RESULTS, Measurement, measure, rows, table, write_result
from kernels.frame_tensor import frame_to_tensor
from models.cost import multiply_adds
from models.filter_catalogue import LoadedFilter, filter_names, load_filter
from models.filter_export import FilterJob, export_filter
from models.filter_graphs import AsTrained, FilterSamples, Statistics, as_served, in_cells, shown_to
from models.filter_networks import FilterNetwork, Size, parameters_of, takes_planes
from models.gate import ExportError
from models.manifest import Licence
from models.oasis import OasisGenerator, slim
from models.pix2pix import Norm, ResNetConfig, ResNetGenerator, UNetConfig, UNetGenerator
from models.plane_filter import PlaneFilter
from models.tiny_filter import Memory, TinyFilter, TinyFilterConfig, TinySize
from stream.media.clip import ClipReader

ASSETS = Path(__file__).parents[1] / "stream" / "assets"
SAMPLES = 16
PRECISIONS = ("fp32", "int8")
THREADS = (1, 2)
LAYOUT_CLASSES = 12
FRESH_BIAS = 0.01

BUDGET_MS = {
    ("unet-256", 256, "int8"): 12.0,
    ("tiny-a", 256, "int8"): 3.0,
    ("tiny-b", 256, "int8"): 3.0,
    ("tiny-d", 256, "int8"): 3.0,
    ("tiny-a", 512, "int8"): 8.0,
    ("tiny-b", 512, "int8"): 8.0,
    ("tiny-d", 512, "int8"): 8.0,
    ("planes", 256, "int8"): 3.0,
    ("planes", 512, "int8"): 8.0,
}
"""What a picture may cost on two threads, at the median."""


@dataclass(frozen=True, slots=True)
class Case:
    """One network at one size.

    Attributes:
        slow: A published network that is not meant to run live; left out unless asked for.
    """

    name: str
    size_px: int
    network: FilterNetwork
    statistics: Statistics = "running"
    slow: bool = False

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.size_px, self.size_px


def cases() -> Iterator[Case]:
    """What is measured, with fresh weights."""
    sizes: tuple[TinySize, ...] = ("a", "b", "c", "d")
    for size_px in (256, 512):
        yield Case("planes", size_px, PlaneFilter())
        for size in sizes:
            yield Case(f"tiny-{size}", size_px, _tiny(size))
        yield Case("tiny-b-previous", size_px, _tiny("b", "previous"))
        yield Case("tiny-b-recurrent", size_px, _tiny("b", "recurrent"))
    yield Case("unet-256", 256, UNetGenerator())
    yield Case("unet-256", 256, UNetGenerator(), "picture")
    yield Case("unet-256-half", 256, UNetGenerator(UNetConfig(channels=32)))
    yield Case("oasis-slim", 256, OasisGenerator(slim(LAYOUT_CLASSES)))
    norms: tuple[Norm, ...] = ("instance", "batch")
    for norm in norms:
        yield Case(f"resnet-9-{norm}", 256, ResNetGenerator(ResNetConfig(norm=norm)), slow=True)


def _tiny(size: TinySize, memory: Memory = "none") -> TinyFilter:
    return TinyFilter(TinyFilterConfig(size, memory=memory, state_channels=0 if memory == "none" else 8))


def lively(network: FilterNetwork, samples: FilterSamples) -> FilterNetwork:
    """Batch norm statistics of these pictures: fresh weights then draw pictures that differ, which can be compared.

    Biases are not left at zero: a constant that is the same all over is kept as one number, and quantisation, which
    moves biases one by one, would fail.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * FRESH_BIAS)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    if not norms:
        return network.eval()
    for layer in norms:
        layer.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(samples.frames[:4]))
    return network.eval()


def bundled_frames(size: Size) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pictures of the bundled clip, evenly spaced, as serving would show them."""
    frames = list(ClipReader(ASSETS / "sample.mp4").frames())
    chosen = [frames[int(at)] for at in np.linspace(0, len(frames) - 1, 2 * SAMPLES)]
    return np.stack([frame_to_tensor(frame.planes, size, frame.colour) for frame in chosen])


def layouts_of(frames: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Layouts with pictures' outlines: levels of brightness as classes."""
    grey = frames.mean(1)
    labels = np.clip(((grey + 1) / 2 * LAYOUT_CLASSES).astype(int), 0, LAYOUT_CLASSES - 1)
    one_hot = np.eye(LAYOUT_CLASSES, dtype=np.float32)[labels]
    return np.ascontiguousarray(one_hot.transpose(0, 3, 1, 2))


def measure_case(case: Case, folder: Path, count: int) -> Iterator[Measurement]:
    """Export, hold against torch, time."""
    frames = bundled_frames(case.size)
    layout = isinstance(case.network, OasisGenerator)
    given = layouts_of(frames) if layout else shown_to(case.network, frames)
    calibration, gate = FilterSamples(given[::2].copy()), FilterSamples(given[1::2].copy())
    network = lively(case.network, calibration)
    cost = _cost(network, case.size, calibration)
    for precision in PRECISIONS:
        job = FilterJob(
            folder=folder / f"case-{precision}",
            title=case.name,
            size_px=case.size,
            licence=Licence("none", ()),
            source="layout" if layout else "planes" if takes_planes(case.network) else "picture",
            classes=tuple(f"class {i}" for i in range(LAYOUT_CLASSES)) if layout else (),
            how=AsTrained(statistics=case.statistics),
            precisions=(precision,),
        )
        try:
            manifest = export_filter(network, job, calibration=calibration, gate=gate)
        except ExportError as error:
            print(f"left out: {case.name} at {case.size_px} in {precision}: {error}")
            continue
        parity = manifest.engines[precision].parity
        extra = {**cost, "size_px": case.size_px, "normalisation": manifest.normalisation, "psnr_db": parity.psnr_db}
        for threads in THREADS:
            loaded = load_filter(job.folder.name, precision, threads, folders=[folder])
            name = f"{case.name} {case.size_px} {manifest.normalisation} {precision} T{threads}"
            yield _timed(name, loaded, given[:1], count, {**extra, "precision": precision, "threads": threads})
            loaded.close()


def _cost(network: FilterNetwork, size: Size, samples: FilterSamples) -> dict[str, float]:
    given = [torch.from_numpy(each) for each in samples.with_noise(network, 0).frame_feed(0).values()]
    served = as_served(network, size) if takes_planes(network) else network
    millions, giga = parameters_of(network) / 1e6, multiply_adds(served, *given) / 1e9
    return {"parameters_m": round(millions, 3), "gmac": round(giga, 3)}


def _timed(
    name: str, loaded: LoadedFilter, frame: np.ndarray[Any, np.dtype[np.float32]], count: int, extra: dict[str, Any]
) -> Measurement:
    beside = loaded.start()

    def one() -> None:
        nonlocal beside
        _, beside = loaded.draw(frame, beside)

    row = measure(name, one, count=count, extra=extra)
    busy_ns = time.process_time_ns()
    for _ in range(count):
        one()
    # What the processor spends on a picture, which other programs beside it hardly change.
    cpu_ms = (time.process_time_ns() - busy_ns) / count / 1e6
    load = round(os.getloadavg()[0], 2)
    return replace(row, extra={**row.extra, "cpu_ms": round(cpu_ms, 2), "load_1min": load, "nice": os.nice(0)})


def measure_shipped(count: int) -> Iterator[Measurement]:
    """The filters of `models/filters`, in their default precision."""
    for name in filter_names():
        for threads in THREADS:
            loaded = load_filter(name, threads=threads)
            spec = loaded.inputs["frame"]
            frame = np.zeros([1, *(size or 1 for size in spec.shape[1:])], spec.dtype)
            if loaded.manifest.source != "layout":
                frame = bundled_frames(loaded.size_px)[:1]
            if loaded.manifest.source == "planes":
                frame = in_cells(frame)
            label = f"shipped {name} {loaded.size_px[0]} {loaded.precision} T{threads}"
            extra = {"shipped": name, "precision": loaded.precision, "threads": threads}
            yield _timed(label, loaded, frame, count, extra)
            loaded.close()


def verdicts(measured: list[Measurement]) -> list[dict[str, Any]]:
    """Which budgets were kept, on two threads."""
    found = []
    for row in measured:
        name = row.name.split()[0]
        key = (name, row.extra.get("size_px", 0), row.extra["precision"])
        if row.extra["threads"] == THREADS[-1] and key in BUDGET_MS:
            kept = row.ms.p50 <= BUDGET_MS[key]
            found.append({"case": row.name, "budget_ms": BUDGET_MS[key], "p50_ms": row.ms.p50, "kept": kept})
    return found


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run filters", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,...", help="cases whose name begins with one of these")
    parser.add_argument("--slow", action="store_true", help="the published networks that do not run live as well")
    parser.add_argument("--count", type=int, default=100, help="timed pictures per engine")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    torch.manual_seed(0)
    measured = []
    wanted = tuple(asked.only.split(","))
    for case in cases():
        if not case.name.startswith(wanted) or (case.slow and not asked.slow):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for row in measure_case(case, Path(folder), asked.count):
                print(
                    f"{row.name}: p50 {row.ms.p50:.2f} p95 {row.ms.p95:.2f} ms, cpu {row.extra['cpu_ms']} ms",
                    flush=True,
                )
                measured.append(row)
    if not asked.only:
        measured += measure_shipped(asked.count)
    kept = verdicts(measured)
    path = write_result("filters", {"rows": rows(measured), "budgets": kept}, asked.results)
    print(table(measured))
    for verdict in kept:
        word = "keeps" if verdict["kept"] else "MISSES"
        print(f"{verdict['case']}: {verdict['p50_ms']:.2f} ms {word} {verdict['budget_ms']} ms")
    print(path)
    return 0 if all(verdict["kept"] for verdict in kept) else 1
