"""`visavis engines`: which networks are here, whether each of them runs on this machine, and which one is taken.

Networks lie in two places: those that came with the product, and those that the user imported.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from models import catalogue
from models.engine import EngineError
from models.manifest import load_manifest
from models.openvino_engine import supports
from models.tensorrt_plan import described, plans_folder, plans_of
from stream.config import Config
from stream.errors import ConfigError

Found = list[tuple[Path, str]]
"""Networks as (folder that they lie in, name)."""


def take_engine(config: Config, name: str | None, imported_folder: Path) -> Config:
    """Put the engine named on the command line into the configuration.

    One that did not come with the product is looked for among the imported ones, unless a folder is configured.

    Raises:
        ConfigError: It is in neither place.
    """
    engine = dataclasses.replace(config.engine, name=name or config.engine.name)
    shipped, imported = catalogue.names(), catalogue.names(imported_folder)
    if not engine.folder and engine.name not in shipped and engine.name in imported:
        engine = dataclasses.replace(engine, folder=str(imported_folder))
    elif name and not engine.folder and name not in shipped:
        there = ", ".join([*shipped, *imported]) or "none"
        raise ConfigError(
            f"no network {name!r}, there is: {there}. Import one (visavis engines import), or take another"
        )
    return dataclasses.replace(config, engine=engine)


def run(arguments: argparse.Namespace, imported_folder: Path, cache_folder: Path) -> int:
    """List or check; 2 if there is nothing, or if something does not run."""
    folders = (catalogue.WEIGHTS, imported_folder)
    found = [(folder, name) for folder in folders for name in catalogue.names(folder)]
    if not found:
        raise EngineError(
            f"no engine in {catalogue.WEIGHTS}: fetch it (git checkout -- models/weights) or make it "
            "(python -m training export)"
        )
    return _list(found, cache_folder) if arguments.action == "list" else _check(found)


def _list(found: Found, cache_folder: Path) -> int:
    for folder, name in found:
        manifest = load_manifest(folder / name, "Fetch it again: git checkout -- models/weights")
        print(f"{name}: {manifest.crop.size_px} px, weights {manifest.licence.weights}")
        for precision, files in manifest.engines.items():
            here = "runs here" if supports(files.inference_precision) else "not on this processor"
            default = ", default" if precision == manifest.default_precision else ""
            print(f"  {files.backend} {precision}{default}: {files.parity.psnr_db:.1f} dB of torch, {here}")
        for record in plans_of(plans_folder(cache_folder), name):
            print(f"  tensorrt {described(record)}")
    return 0


def _check(found: Found) -> int:
    failed = 0
    for folder, name in found:
        manifest = load_manifest(folder / name, "Fetch it again: git checkout -- models/weights")
        for precision, files in manifest.engines.items():
            if not supports(files.inference_precision):
                print(f"{name} {precision}: not on this processor, which has no {files.inference_precision} arithmetic")
                continue
            problem = _problem(folder, name, precision)
            failed += problem is not None
            print(f"{name} {precision}: {problem or 'ok'}")
    return 2 if failed else 0


def _problem(folder: Path, name: str, precision: str) -> str | None:
    try:
        engine = catalogue.load_engine(name, precision=precision, weights_folder=folder)
        feed = {key: np.zeros([size or 1 for size in spec.shape], spec.dtype) for key, spec in engine.inputs.items()}
        outputs = engine.infer(feed)
        engine.close()
    except EngineError as error:
        return str(error)
    finite = all(bool(np.isfinite(value).all()) for value in outputs.values())
    return None if finite else "its output is not finite: make it again (python -m training export)"
