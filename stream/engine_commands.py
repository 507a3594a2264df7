"""`visavis engines`: which networks are here, and whether each of them runs on this machine."""

import argparse

import numpy as np

from models import catalogue
from models.engine import EngineError
from models.manifest import load_manifest
from models.openvino_engine import supports


def run(arguments: argparse.Namespace) -> int:
    """List or check; 2 if there is nothing, or if something does not run."""
    found = catalogue.names()
    if not found:
        raise EngineError(
            f"no engine in {catalogue.WEIGHTS}: fetch it (git checkout -- models/weights) or make it "
            "(python -m training export)"
        )
    return _list(found) if arguments.action == "list" else _check(found)


def _list(found: list[str]) -> int:
    for name in found:
        manifest = load_manifest(catalogue.WEIGHTS / name, "Fetch it again: git checkout -- models/weights")
        print(f"{name}: {manifest.crop.size_px} px, weights {manifest.licence.weights}")
        for precision, files in manifest.engines.items():
            here = "runs here" if supports(files.inference_precision) else "not on this processor"
            default = ", default" if precision == manifest.default_precision else ""
            print(f"  {files.backend} {precision}{default}: {files.parity.psnr_db:.1f} dB of torch, {here}")
    return 0


def _check(found: list[str]) -> int:
    failed = 0
    for name in found:
        manifest = load_manifest(catalogue.WEIGHTS / name, "Fetch it again: git checkout -- models/weights")
        for precision in manifest.engines:
            problem = _problem(name, precision)
            failed += problem is not None
            print(f"{name} {precision}: {problem or 'ok'}")
    return 2 if failed else 0


def _problem(name: str, precision: str) -> str | None:
    try:
        engine = catalogue.load_engine(name, precision=precision)
        feed = {key: np.zeros([size or 1 for size in spec.shape], spec.dtype) for key, spec in engine.inputs.items()}
        outputs = engine.infer(feed)
        engine.close()
    except EngineError as error:
        return str(error)
    finite = all(bool(np.isfinite(value).all()) for value in outputs.values())
    return None if finite else "its output is not finite: make it again (python -m training export)"
