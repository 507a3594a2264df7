"""Builds plans with TensorRT-RTX, a program of its own: without a driver the runtime's own ends may crash.

`python -m tests.models.plans_of_rtx FOLDER` builds every NAME.PRECISION.onnx of a folder for the cards that know the
precision, and prints what came of it as JSON.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from models.engine import EngineError
from models.tensorrt_build import build_plan, profiles_for
from models.tensorrt_runtime import load_trt

CARDS = {
    "fp16": ("7.5", "8.0", "8.6", "8.9", "12.0"),
    "int8": ("7.5", "8.0", "8.6", "8.9", "12.0"),
    "fp8": ("8.9", "12.0"),
}


def main(folder: Path) -> dict[str, Any]:
    runtime = load_trt(("tensorrt_rtx",))
    made: dict[str, Any] = {"version": runtime.version}
    for path in sorted(folder.glob("*.onnx")):
        precision = path.stem.rpartition(".")[2]
        begin = time.perf_counter()
        plan = build_plan(runtime, path.read_bytes(), profiles_for(runtime), capabilities=CARDS[precision])
        made[path.stem] = {"bytes": len(plan.data), "seconds": round(time.perf_counter() - begin, 2)}
    made["refused"] = _refusals(folder)
    return made


def _refusals(folder: Path) -> dict[str, str]:
    """What is said of an fp8 network for a card without fp8, of a card that is not known, and of no network."""
    runtime = load_trt(("tensorrt_rtx",))
    fp8 = next(folder.glob("*.fp8.onnx"), None)
    if fp8 is None:
        return {}
    network = fp8.read_bytes()
    said = {}
    for what, onnx, cards in (
        ("fp8 on 8.0", network, ("8.0",)),
        ("9.0", network, ("9.0",)),
        ("nothing", b"no network", ()),
    ):
        try:
            build_plan(runtime, onnx, profiles_for(runtime), capabilities=cards)
        except EngineError as error:
            said[what] = str(error)
    return said


def plans_of(folder: Path) -> dict[str, Any]:
    """What the program says of a folder."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.models.plans_of_rtx", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert made.returncode == 0, made.stderr[-2000:]
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))), flush=True)
    os._exit(0)
