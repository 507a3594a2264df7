"""How everything here is measured: warm-up, fixed load, percentiles, and the machine beside the figure.

`setup` is apart from `run`, the caller checks the output before it is timed,
and one run writes one JSON file with machine, versions and commit.
"""

import datetime
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("numpy", "opencv-python-headless", "openvino", "aiortc", "av", "mediapipe", "torch")


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p95, p99 and the extremes of a sample, in the sample's unit."""

    count: int
    p50: float
    p95: float
    p99: float
    min: float
    max: float


def percentiles(values: Sequence[float]) -> Percentiles:
    """Summarise a sample.

    Raises:
        ValueError: The sample is empty; nothing measured is not a figure.
    """
    if not len(values):
        raise ValueError("no samples were measured")
    array = np.asarray(values, np.float64)
    p50, p95, p99 = np.percentile(array, [50, 95, 99])
    return Percentiles(len(array), float(p50), float(p95), float(p99), float(array.min()), float(array.max()))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of a result: what ran, how long it took, and what it is compared with."""

    name: str
    ms: Percentiles
    extra: dict[str, Any] = field(default_factory=dict)


def measure(
    name: str, run: Callable[[], object], *, warmup: int = 20, count: int = 200, extra: dict[str, Any] | None = None
) -> Measurement:
    """Time `run` by `perf_counter_ns`, `count` times after `warmup` calls."""
    for _ in range(warmup):
        run()
    durations_ms = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        run()
        durations_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    return Measurement(name, percentiles(durations_ms), {"warmup": warmup, **(extra or {})})


def machine() -> dict[str, Any]:
    """The processor, its cores, the system, the versions and the commit."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "load_before": list(os.getloadavg()),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    here = Path(__file__).parent
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "unknown"
    return shown.stdout.strip() or "unknown"


def write_result(kind: str, body: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write one run as `<date>-<kind>.json` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = folder / f"{now:%Y-%m-%d}-{kind}.json"
    record = {"kind": kind, "utc": now.isoformat(timespec="seconds"), "machine": machine(), **body}
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(record, indent=1, sort_keys=False) + "\n")
    partial.replace(path)
    return path


def table(measurements: Sequence[Measurement]) -> str:
    """A plain-text table of milliseconds for the terminal."""
    width = max(len(m.name) for m in measurements)
    lines = [f"{'':{width}}  {'count':>6} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}  ms"]
    lines += [
        f"{m.name:{width}}  {m.ms.count:6d} {m.ms.p50:8.3f} {m.ms.p95:8.3f} {m.ms.p99:8.3f} {m.ms.max:8.3f}"
        for m in measurements
    ]
    return "\n".join(lines)


def rows(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The same rows for JSON."""
    return [asdict(m) for m in measurements]
