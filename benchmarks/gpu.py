"""What an NVIDIA card does with the kernels and the networks: checks first, then times, all in one JSON file.

It comes in parts that each end within ten minutes: `ground`, `checks`, `build`, `kernels`, `networks`, `filters`,
`live`, `codecs`, `sanitizer`. A part that cannot run here says why, and its lines stand in the file as not measured.
"""

import argparse
import contextlib
import datetime
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import codecs
from benchmarks.engines import Network
from benchmarks.harness import RESULTS, machine
from benchmarks.harness import rows as rows_of
from benchmarks.on_card import checks, filters, ground, live, networks, timings
from benchmarks.on_card.report import table_of
from benchmarks.on_card.scene import Sizes
from kernels.cuda.device import Device, DeviceError, open_device
from models.engine import EngineError
from stream.cli import main as visavis
from stream.media.codec_device import CodecsConfig, choose

PARTS = ("ground", "checks", "build", "kernels", "networks", "filters", "live", "codecs", "sanitizer")
NETWORKS = ("lipgan", "lipgan_lite", "lipgan_quarter")
LIVE = ("lipgan_lite", "lipgan")
TOOLS = ("memcheck", "racecheck", "initcheck")


def measure(part: str, device: Device, before: dict[str, Any], asked: argparse.Namespace) -> Any:  # noqa: ANN401 - JSON
    """One part; `before` is what other parts have found."""
    base = before.get("ground", {})
    if part == "ground":
        return ground.run(device)
    if part == "checks":
        return checks.run(device, print)
    if part == "build":
        return build()
    if part == "kernels":
        rows = timings.run(device, base.get("copy_gb_s"), repeats=asked.repeats)
        rows += timings.run(device, base.get("copy_gb_s"), Sizes(1, crop_px=96), repeats=asked.repeats)
        return [*rows, timings.by_processor(Sizes(1))]
    if part == "filters":
        return _filters(device, asked.repeats)
    if part == "networks":
        return networks.run(NETWORKS, peak_tflop_s=base.get("fp16_tflop_s"), repeats=asked.repeats)
    if part == "codecs":
        return _codecs(device, asked.repeats)
    return _live(asked)


def _codecs(device: Device, repeats: int) -> dict[str, Any]:
    config = CodecsConfig(device="auto", card=device.index)
    chosen = choose(config).sharing(lambda: device, config.card_pictures_mb)
    report = codecs.run(chosen, count=repeats)
    return {"codecs": str(chosen), "rows": rows_of(report.measured), "not_measured": report.not_measured}


def _filters(device: Device, repeats: int) -> list[dict[str, Any]]:
    try:
        network = filters.unet_on_card()
    except EngineError as error:
        return [{"network": "U-Net-256", "backend": "torch-cuda", "not_measured": str(error)}]
    rows = filters.run(device, network, repeats=repeats)
    network.close()
    return rows


def _live(asked: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in LIVE:
        for backend, precision in (("tensorrt", "fp16"), ("torch-cuda", "fp16")):
            row: dict[str, Any] = {"network": name, "backend": backend, "precision": precision}
            try:
                engine = networks.open_on_card(name, backend, precision)
            except (EngineError, DeviceError) as error:
                rows.append(row | {"not_measured": str(error)})
                continue
            manifest = Network(name).manifest()
            rows.append(
                row
                | {
                    "ticks": live.ticks(engine, manifest, repeats=asked.repeats),
                    "ticks_on_card": live.ticks(engine, manifest, repeats=asked.repeats, stay=True),
                    "sessions": live.sessions(engine, manifest, seconds=asked.seconds),
                }
            )
            engine.close()
    return rows


def build() -> dict[str, Any]:
    """Build every network for this card, through its gate; what the machine's runtimes do not allow says why."""
    found: dict[str, Any] = {}
    for precisions in (("fp16", "int8"), ("fp8",)):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = visavis(["engines", "build", "--precision", *precisions])
        found[" ".join(precisions)] = {"exit_status": status, "said": said.getvalue().strip().splitlines()}
    return found


def sanitize(run: Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"] | None = None) -> dict[str, Any]:
    """Do the checks again under compute-sanitizer, which sees what the kernels read and write."""
    if shutil.which("compute-sanitizer") is None:
        return {"not_measured": "compute-sanitizer is not installed (it is part of the CUDA toolkit)"}
    found = {}
    for tool in TOOLS:
        line = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "benchmarks"]
        line += ["run", "gpu", "--parts", "checks", "--dry"]
        ended = (run or _run)(line)
        found[tool] = {"exit_status": ended.returncode, "said": ended.stdout.strip().splitlines()[-3:]}
    return found


def _run(line: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=540)


def main(argv: list[str]) -> int:
    """Measure the parts asked for, add them to the file of this card and commit, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run gpu", description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=100, help="how often each is timed")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each number of live sessions")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--dry", action="store_true", help="write no file")
    asked = parser.parse_args(argv)
    try:
        device = open_device()
    except DeviceError as error:
        print(f"nothing was measured: {error}")
        return 2
    path = _path(asked.results, device)
    body: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"kind": "gpu"}
    body["machine"] = machine()
    wrong = 0
    for part in asked.parts:
        print(f"-- {part}", flush=True)
        body[part] = sanitize() if part == "sanitizer" else measure(part, device, body, asked)
        wrong += part == "checks" and not all(row["passed"] for row in body[part])
        if not asked.dry:
            asked.results.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(body, indent=1) + "\n")
    print(table_of(body))
    if not asked.dry:
        print(path)
    device.close()
    return 1 if wrong else 0


def _path(folder: Path, device: Device) -> Path:
    """One file for a day, a card and a commit."""
    card = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")
    commit = re.sub(r"[^a-z0-9-]+", "-", machine()["commit"].lower())
    return folder / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{card}-{commit}.json"
