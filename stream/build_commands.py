"""`visavis engines build`: every network for this machine's card, each held against torch before it is used.

The card and all packages are asked for first: what is missing is said in one line before any work is done. Exporting
needs torch, which serving does without: it is loaded here, when this command runs.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from kernels.mel import MelWindow
from models import catalogue
from models.engine import EngineError
from models.manifest import EngineManifest, load_manifest
from models.tensorrt_card import capability_of, find_card
from models.tensorrt_plan import LIMIT_DB, described, plans_folder
from models.tensorrt_runtime import load_trt
from stream.bundled import bundled_samples
from stream.errors import ConfigError

_PACKAGES = ("torch", "onnx", "onnxscript", "safetensors")
_FP8_FROM = (8, 9)


def run(arguments: argparse.Namespace, imported_folder: Path, cache_folder: Path) -> int:
    """Build; 0 when every plan is there.

    Raises:
        ConfigError, EngineError: What the user must change, in one line; plans that were ready before it stay.
    """
    _check_arguments(arguments)
    found = _networks(arguments.names, imported_folder)
    runtime = load_trt()
    card = find_card()
    _check_fp8(arguments.precision, capability_of(card))
    _check_packages()
    from models.plan_builder import PlanJob, build_plans

    print(f"{runtime.title}, compute capability {capability_of(card)}", flush=True)
    for weights, manifest in found:
        window = MelWindow(manifest.mel.columns, manifest.mel.look_ahead)
        crop = manifest.crop
        calibration, gate = bundled_samples(window, crop.size_px, masked=crop.mask_row < crop.size_px)
        job = PlanJob(
            weights=weights, manifest=manifest, precisions=arguments.precision, folder=plans_folder(cache_folder)
        )
        for record in build_plans(job, runtime, card, calibration=calibration, gate=gate):
            print(f"{manifest.name} {described(record)}", flush=True)
    print("Use them: visavis run --backend tensorrt, visavis dub --backend tensorrt")
    return 0


def _check_arguments(arguments: argparse.Namespace) -> None:
    if arguments.backend != "tensorrt":
        raise ConfigError(f"--backend is {arguments.backend!r}: only tensorrt builds for a card, others need nothing")
    unknown = [each for each in arguments.precision if each not in LIMIT_DB]
    if unknown:
        raise ConfigError(f"--precision is {unknown[0]!r}, expected some of {', '.join(LIMIT_DB)}")


def _networks(names: Sequence[str], imported_folder: Path) -> list[tuple[Path, EngineManifest]]:
    """The folders and manifests of the networks that were named, or of all."""
    there = {name: folder for folder in (imported_folder, catalogue.WEIGHTS) for name in catalogue.names(folder)}
    unknown = [name for name in names if name not in there]
    if unknown or not there:
        listed = ", ".join(sorted(there)) or "none"
        raise EngineError(f"no network {', '.join(unknown)}, there is: {listed}. See: visavis engines list")
    remedy = "Fetch it again: git checkout -- models/weights"
    return [(there[name] / name, load_manifest(there[name] / name, remedy)) for name in names or sorted(there)]


def _check_fp8(precisions: Sequence[str], capability: str) -> None:
    if "fp8" in precisions and tuple(map(int, capability.split("."))) < _FP8_FROM:
        needed = ".".join(map(str, _FP8_FROM))
        raise ConfigError(f"fp8 needs compute capability {needed} or newer, this card has {capability}: leave it out")


def _check_packages() -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"building needs {package}, which serving does without. Install it: pip install 'visavis[train]'"
            )
