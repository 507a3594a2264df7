"""Filters on the disk whose networks are one operation each, so that what they draw is known to the level."""

from importlib import metadata
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

from kernels.portrait_layout import PORTRAIT_CLASSES
from models.engine import TensorSpec
from models.filter_manifest import SCHEMA, FilterManifest
from models.manifest import Checkpoint, EngineFiles, Licence, Parity, sha256_of
from models.openvino_engine import port_name

SIDE = 64
GAINS = {"negative": (-1.0, 0.0), "white": (0.0, 1.0), "black": (0.0, -1.0), "same": (1.0, 0.0)}
"""What a filter of that name makes of a level: times the first, plus the second."""


def make_filters(folder: Path, *names: str, region: str = "frame") -> Path:
    """Write some of `GAINS` into a folder of filters, and return it; one for portraits is shown a layout."""
    for name in names:
        _make(folder / name, region)
    return folder


def _make(folder: Path, region: str) -> None:
    folder.mkdir(parents=True)
    gain, offset = GAINS[folder.name]
    classes = PORTRAIT_CLASSES if region == "portrait" else ()
    channels = len(classes) or 3
    shown = ops.parameter([1, channels, SIDE, SIDE], np.float32, name="frame")
    taken = ops.slice(shown, [0], [3], [1], [1])
    drawn = ops.add(ops.multiply(taken, np.float32(gain)), np.full((1, 3, SIDE, SIDE), offset, np.float32))
    shown.output(0).get_tensor().set_names({"frame"})
    drawn.output(0).get_tensor().set_names({port_name("frame", {"frame"})})
    model = openvino.Model([drawn], [shown], "filter")
    openvino.save_model(model, folder / "filter.xml", compress_to_fp16=False)
    (folder / "filter.safetensors").write_bytes(b"none")
    spec, made = ((TensorSpec("frame", (None, count, SIDE, SIDE)),) for count in (channels, 3))
    files = EngineFiles(
        backend="openvino",
        xml="filter.xml",
        bin="filter.bin",
        sha256={name: sha256_of(folder / name) for name in ("filter.xml", "filter.bin")},
        inference_precision="f32",
        parity=Parity(samples=8, psnr_db=120.0, worst_psnr_db=120.0, max_abs=0.0, limit_db=45.0),
    )
    FilterManifest(
        schema=SCHEMA,
        name=folder.name,
        title=f"Everything {folder.name}",
        size_px=(SIDE, SIDE),
        region=region,
        source="portrait" if classes else "picture",
        classes=classes,
        network={"family": "none"},
        checkpoint=Checkpoint("filter.safetensors", sha256_of(folder / "filter.safetensors")),
        inputs=spec,
        outputs=made,
        recurrent=False,
        normalisation="none",
        dropout="off",
        seed=0,
        default_precision="fp32",
        engines={"fp32": files},
        versions={"openvino": metadata.version("openvino")},
        licence=Licence(weights="none", data=("none",)),
    ).save(folder)
