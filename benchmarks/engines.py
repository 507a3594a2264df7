"""The generator on every runtime, precision and thread count, and how long each takes to load.

Inputs are faces of the bundled clip with the bundled voice, cut as the network's manifest says. Every engine is held
against torch in float32 before it is timed; torch, the runtime that trained it, is the baseline of the same run.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, Measurement, measure, rows, table, write_result
from kernels.crop import crop_face, crop_transform, generator_input, in_crop
from kernels.mel import MelWindow
from kernels.mouth import close_mouth
from models.catalogue import WEIGHTS, LoadedEngine, load_engine
from models.engine import EngineError
from models.gate import LIMIT_DB, measure_parity
from models.landmarks import LandmarkNetworks
from models.manifest import EngineManifest, load_manifest
from stream.media.clip import ClipReader
from stream.voice import VoiceTrack

ASSETS = Path(__file__).parents[1] / "stream" / "assets"
EVERY = 10
LOADS = 5
THREADS = (1, 2)

# "Live on two cores": what the generator may cost at the median, by threads.
BUDGET_MS = {1: 10.0, 2: 6.0}


@dataclass(frozen=True, slots=True)
class Network:
    """Which network to measure: shipped, or exported to another folder."""

    name: str = "lipgan_lite"
    weights_folder: Path = WEIGHTS

    def manifest(self) -> EngineManifest:
        """What its files say."""
        return load_manifest(self.weights_folder / self.name, "")


@dataclass(frozen=True, slots=True)
class Case:
    """One engine to measure."""

    backend: str
    precision: str
    threads: int

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.backend} {self.precision} T{self.threads}"

    def load(self, network: Network, cache_folder: Path | None = None) -> LoadedEngine:
        """Open it."""
        return load_engine(
            network.name,
            self.backend,
            self.precision,
            self.threads,
            weights_folder=network.weights_folder,
            cache_folder=cache_folder,
        )


def bundled_feeds(manifest: EngineManifest) -> list[dict[str, NDArray[np.float32]]]:
    """Every tenth face of the bundled clip, as serving would feed it; each is its own identity."""
    crop_px, mask_row = manifest.crop.size_px, manifest.crop.mask_row
    window = MelWindow(manifest.mel.columns, manifest.mel.look_ahead)
    networks, voice = LandmarkNetworks(), VoiceTrack.open(ASSETS / "voice.wav", window=window)
    feeds = []
    for index, frame in enumerate(ClipReader(ASSETS / "sample.mp4").frames()):
        meshes = networks.find(frame.planes, colour=frame.colour) if index % EVERY == 0 else []
        for mesh in meshes:
            landmarks = np.ascontiguousarray(mesh.points[:, :2])
            to_crop = crop_transform(landmarks, crop_px)
            crop = crop_face(frame.planes, to_crop, crop_px, frame.colour)
            shown = crop if mask_row < crop_px else close_mouth(crop, in_crop(landmarks, to_crop))
            face = generator_input(crop, shown, mask_row)
            feeds.append({"face": face[None], "mel": voice.mel(frame.pts_ns)[None, None]})
    return feeds


def cases(network: Network) -> list[Case]:
    """What can run here: torch first, then every exported precision."""
    exported = network.manifest().engines
    wanted = [("torch", "fp32"), ("torch", "bf16"), *(("openvino", each) for each in exported)]
    found = []
    for backend, precision in wanted:
        try:
            Case(backend, precision, 1).load(network).close()
        except EngineError as error:
            print(f"left out: {backend} {precision}: {error}")
            continue
        found += [Case(backend, precision, threads) for threads in THREADS]
    return found


def check(case: Case, engine: LoadedEngine, feeds: list[dict[str, Any]], expected: NDArray[np.float32]) -> float:
    """Hold an engine against torch in float32.

    Returns:
        Decibels.

    Raises:
        SystemExit: It draws something else; a wrong engine is not timed.
    """
    limit_db = LIMIT_DB[case.precision]
    parity = measure_parity(expected, pictures(engine, feeds), limit_db)
    if parity.psnr_db < limit_db:
        raise SystemExit(f"{case.name} is {parity.psnr_db} dB from torch, expected {limit_db}; it is not timed")
    return parity.psnr_db


def pictures(engine: LoadedEngine, feeds: list[dict[str, Any]]) -> NDArray[np.float32]:
    """All pictures, float32 [K, 3, S, S]."""
    return np.concatenate([engine.infer(feed)["picture"] for feed in feeds])


def measure_inference(network: Network, count: int) -> list[Measurement]:
    """One picture at a time on every engine; ratios are against torch fp32 with as many threads."""
    reference = Case("torch", "fp32", 1).load(network)
    feeds = bundled_feeds(reference.manifest)
    expected = pictures(reference, feeds)
    measured: list[Measurement] = []
    baseline_ms: dict[int, float] = {}
    for case in cases(network):
        engine = case.load(network)
        psnr_db = check(case, engine, feeds, expected)
        turn = iter(range(10**9))
        row = measure(case.name, lambda e=engine, t=turn: e.infer(feeds[next(t) % len(feeds)]), count=count)  # type: ignore[misc]
        engine.close()
        baseline_ms.setdefault(case.threads, row.ms.p50)
        extra = {"psnr_db": psnr_db, "torch_ratio": round(baseline_ms[case.threads] / row.ms.p50, 2)}
        measured.append(replace(row, extra={**row.extra, **extra}))
    return measured


def measure_loading(network: Network) -> list[Measurement]:
    """From files to ready, in a process that has the runtime imported: cold, and from a kept compiled form."""
    measured = []
    for case in [each for each in cases(network) if each.threads == THREADS[-1]]:
        kinds = ("cold", "cached") if case.backend == "openvino" else ("cold",)
        with tempfile.TemporaryDirectory() as folder:
            case.load(network, Path(folder)).close()
            folders = {"cold": None, "cached": Path(folder)}
            measured += [_measure_load(case, network, kind, folders[kind]) for kind in kinds]
    return measured


def _measure_load(case: Case, network: Network, kind: str, cache_folder: Path | None) -> Measurement:
    def load() -> None:
        engine = case.load(network, cache_folder)
        assert engine.from_cache == (kind == "cached")
        engine.close()

    return measure(f"load {case.name} {kind}", load, warmup=1, count=LOADS)


def budgets(measured: list[Measurement], network: Network) -> list[dict[str, Any]]:
    """Whether the default precision is fast enough for live use, by threads."""
    default = network.manifest().default_precision
    by_name = {row.name: row.ms.p50 for row in measured}
    return [
        {"engine": name, "budget_ms": budget_ms, "p50_ms": by_name[name], "kept": by_name[name] <= budget_ms}
        for threads, budget_ms in BUDGET_MS.items()
        if (name := Case("openvino", default, threads).name) in by_name
    ]


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON; 1 when the default engine misses its budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run engines", description=__doc__)
    parser.add_argument("--network", default="lipgan_lite")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder that --network lies in")
    parser.add_argument("--count", type=int, default=200, help="timed pictures per engine")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    network = Network(asked.network, asked.weights)
    inference = measure_inference(network, asked.count)
    loading = measure_loading(network)
    verdicts = budgets(inference, network)
    manifest = network.manifest()
    body = {
        "network": {**manifest.network, "checkpoint_sha256": manifest.checkpoint.sha256},
        "rows": rows(inference),
        "loading": rows(loading),
        "budgets": verdicts,
    }
    path = write_result("engines", body, asked.results)
    print(table([*inference, *loading]))
    for row in inference:
        print(f"{row.name}: {row.extra['torch_ratio']}x torch fp32, {row.extra['psnr_db']} dB")
    for verdict in verdicts:
        word = "keeps" if verdict["kept"] else "MISSES"
        print(f"{verdict['engine']}: {verdict['p50_ms']:.2f} ms {word} {verdict['budget_ms']} ms")
    print(path)
    return 0 if all(verdict["kept"] for verdict in verdicts) else 1
