"""From a trained generator to engines that serve it, through a gate that nothing broken passes.

Batch norm is folded into the convolutions, the network becomes an OpenVINO graph (constants in half
precision, computed in float32 or bfloat16) and, quantised on real crops, an int8 graph. What is written is loaded
back and held against torch in float32 on inputs that the quantisation never saw; only then does it get its name.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np

from kernels.crop import generator_input
from kernels.mel import LIPGAN_WINDOW, window_at
from models.catalogue import CROP, FASTEST_FIRST, IDENTITIES, WEIGHTS, serving_mel
from models.checkpoint import load_generator, save_generator
from models.gate import LIMIT_DB, ExportError, gated, run_all
from models.generators import GENERATOR_OUTPUT, family_of, generator_inputs
from models.graphs import Samples, write_graphs
from models.lipgan import LipGanConfig, LipGanGenerator
from models.manifest import SCHEMA, Checkpoint, EngineManifest, Licence, sha256_of
from models.torch_engine import TorchEngine
from training.checkpoint import load_checkpoint
from training.data.cache import MARGIN_PX, CachedClip, load_clips

CHECKPOINT_FILE = "generator.safetensors"
MIN_SAMPLES = 8


def export(
    checkpoint: Path,
    out_dir: Path,
    precisions: Sequence[str] = ("fp32", "bf16", "int8"),
    *,
    calibration: Samples,
    gate: Samples,
    licence: Licence,
    name: str = "lipgan",
    identity: str = CROP.identity,
) -> EngineManifest:
    """Turn a checkpoint into engines.

    Args:
        checkpoint: A file of `models.checkpoint.save_generator`.
        out_dir: Gets checkpoint, graphs and manifest; other files there stay.
        precisions: Which engines to make; the fastest becomes the default.
        calibration: What int8 takes its ranges from.
        gate: Inputs apart from these, on which engines are held against torch.
        licence: Goes into the manifest.
        name: The network's name in the catalogue.
        identity: Which picture gives the identity channels when serving, see `CropInput`.

    Raises:
        ExportError: An engine differs from torch by more than `LIMIT_DB`, or the arguments do not fit.
        EngineError: The checkpoint cannot be read, or OpenVINO cannot run a precision here.
    """
    _check_arguments(precisions, calibration, gate)
    staging = out_dir / ".partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        manifest = _export_into(staging, checkpoint, precisions, calibration, gate, licence, name)
        manifest = replace(manifest, crop=replace(manifest.crop, identity=identity))
        _publish(staging, out_dir, manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _check_arguments(precisions: Sequence[str], calibration: Samples, gate: Samples) -> None:
    if not precisions or set(precisions) - set(LIMIT_DB):
        raise ExportError(f"precisions are {list(precisions)}, expected some of {list(LIMIT_DB)}")
    if min(len(calibration), len(gate)) < MIN_SAMPLES:
        raise ExportError(
            f"{len(calibration)} calibration and {len(gate)} gate samples, expected at least {MIN_SAMPLES} of each; "
            "take more frames from the training cache"
        )


def _export_into(
    staging: Path,
    checkpoint: Path,
    precisions: Sequence[str],
    calibration: Samples,
    gate: Samples,
    licence: Licence,
    name: str,
) -> EngineManifest:
    shutil.copyfile(checkpoint, staging / CHECKPOINT_FILE)
    generator = load_generator(staging / CHECKPOINT_FILE)
    inputs = generator_inputs(generator)
    write_graphs(generator, staging, precisions, calibration)
    expected = run_all(TorchEngine(generator), gate)
    engines = {each: gated(staging, each, inputs, gate, expected) for each in precisions}
    return EngineManifest(
        schema=SCHEMA,
        name=name,
        network={"family": family_of(generator), **generator.config.as_dict()},
        checkpoint=Checkpoint(CHECKPOINT_FILE, sha256_of(staging / CHECKPOINT_FILE)),
        inputs=inputs,
        outputs=(GENERATOR_OUTPUT,),
        mel=serving_mel(),
        crop=CROP,
        default_precision=next(each for each in FASTEST_FIRST if each in engines),
        engines=engines,
        versions={package: metadata.version(package) for package in ("openvino", "torch", "nncf")},
        licence=licence,
    )


def _publish(staging: Path, out_dir: Path, manifest: EngineManifest) -> None:
    """Give the files their names, the manifest last: a crash in between leaves a mismatch that loading reports."""
    for path in sorted(staging.iterdir()):
        path.replace(out_dir / path.name)
    manifest.save(out_dir)


LICENCE = Licence(
    weights="Apache-2.0",
    data=(
        "GRID corpus (Cooke et al. 2006): CC BY 4.0",
        "amazon-science/isometric-slt, English clip: CC BY 4.0",
        "portraits of members of the US Congress: public domain",
    ),
)
CALIBRATION_SAMPLES = 128
GATE_SAMPLES = 64


def samples_from(clips: list[CachedClip], count: int) -> Samples:
    """Evenly spaced frames of some clips, as serving would feed them: each frame is its own identity."""
    frames = [(clip, index) for clip in clips for index in range(len(clip.crops))]
    chosen = [frames[int(at)] for at in np.linspace(0, len(frames) - 1, min(count, len(frames)))]
    inside = slice(MARGIN_PX, -MARGIN_PX)
    crops = [np.ascontiguousarray(clip.crops[index][inside, inside]) for clip, index in chosen]
    windows = [window_at(clip.mel, int(clip.pts_ns[index]), LIPGAN_WINDOW) for clip, index in chosen]
    return Samples(np.stack([generator_input(crop, crop) for crop in crops]), np.stack(windows)[:, None])


def generator_of_run(checkpoint: Path) -> tuple[LipGanGenerator, dict[str, object]]:
    """The averaged generator of a training run, with notes for its file.

    Raises:
        ConfigError: Missing or broken file.
    """
    state = load_checkpoint(checkpoint)
    network = state["config"]["network"]
    generator = LipGanGenerator(LipGanConfig.from_dict(network))
    generator.load_state_dict(state["averaged"])
    return generator.eval(), {"step": state["step"], "config": state["config"]}


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> EngineManifest:
    """`python -m training export`: a run's checkpoint to gated engines under `models/weights`.

    Raises:
        ExportError, EngineError, ConfigError, MaterialError: With one line for the operator.
    """
    parser = argparse.ArgumentParser(prog="python -m training export", description=main.__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv), say)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of a run, or .safetensors")
    parser.add_argument("--cache", type=Path, required=True, help="folder of real crops, by `prepare`")
    parser.add_argument("--name", default="lipgan")
    parser.add_argument("--out", type=Path, default=None, help="default: models/weights/<name>")
    parser.add_argument("--identity", choices=IDENTITIES, default=CROP.identity, help="default: %(default)s")
    parser.add_argument("--precisions", default="fp32,bf16,int8", help="comma-separated")


def run(parsed: argparse.Namespace, say: Callable[[str], None] = print) -> EngineManifest:
    """Do what the options say."""
    out_dir: Path = parsed.out or WEIGHTS / parsed.name
    out_dir.mkdir(parents=True, exist_ok=True)
    calibration = samples_from(load_clips(parsed.cache, {"train"}), CALIBRATION_SAMPLES)
    gate = samples_from(load_clips(parsed.cache, {"held_clip", "held_person"}), GATE_SAMPLES)
    source: Path = parsed.checkpoint
    stored = out_dir / ".checkpoint.safetensors"
    try:
        if source.suffix == ".safetensors":
            shutil.copyfile(source, stored)
        else:
            save_generator(stored, *generator_of_run(source))
        precisions = parsed.precisions.split(",")
        manifest = export(
            stored,
            out_dir,
            precisions,
            calibration=calibration,
            gate=gate,
            licence=LICENCE,
            name=parsed.name,
            identity=parsed.identity,
        )
    finally:
        stored.unlink(missing_ok=True)
    for line in _report(manifest):
        say(line)
    return manifest


def _report(manifest: EngineManifest) -> Iterator[str]:
    for precision, files in manifest.engines.items():
        parity = files.parity
        yield (
            f"{precision}: {parity.psnr_db:.1f} dB against torch on {parity.samples} inputs "
            f"(worst {parity.worst_psnr_db:.1f}, at least {parity.limit_db:.0f})"
        )
    yield f"default precision: {manifest.default_precision}"
