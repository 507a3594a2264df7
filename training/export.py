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
from numpy.typing import NDArray

from kernels.crop import generator_input
from kernels.mel import LIPGAN_WINDOW, MelWindow, window_at
from kernels.mouth import close_mouth
from models.catalogue import FASTEST_FIRST, IDENTITIES, WEIGHTS, serving_crop, serving_mel
from models.checkpoint import load_generator, save_generator
from models.gate import LIMIT_DB, ExportError, gated, run_all
from models.generators import Generator, crop_px_of, family_of, generator_inputs, generator_output, masks, window_of
from models.graphs import Samples, write_graphs
from models.lipgan import FACE_SIZE
from models.manifest import SCHEMA, Checkpoint, EngineManifest, Licence, sha256_of
from models.speech_ear import SpeechEar
from models.torch_engine import TorchEngine
from training.checkpoint import load_checkpoint
from training.config import NetworkConfig, build
from training.data.cache import CachedClip, inner, load_clips, size_of
from training.networks import TrainedGenerator, new_generator

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
    identity: str = IDENTITIES[0],
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
        crop = manifest.crop
        manifest = replace(manifest, crop=replace(crop, identity=identity))
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
    inputs, output = generator_inputs(generator), generator_output(generator)
    write_graphs(generator, staging, precisions, calibration)
    expected = run_all(TorchEngine(generator), gate)
    engines = {each: gated(staging, each, inputs, output, gate, expected) for each in precisions}
    return EngineManifest(
        schema=SCHEMA,
        name=name,
        network={"family": family_of(generator), **generator.config.as_dict()},
        checkpoint=Checkpoint(CHECKPOINT_FILE, sha256_of(staging / CHECKPOINT_FILE)),
        inputs=inputs,
        outputs=(output,),
        mel=serving_mel(window_of(generator)),
        crop=serving_crop(crop_px_of(generator), masked=masks(generator)),
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
RECOGNISER = "first layers of the encoder of Whisper tiny.en (OpenAI, 2022): MIT"
CALIBRATION_SAMPLES = 128
GATE_SAMPLES = 64


def samples_from(
    clips: list[CachedClip],
    count: int,
    crop_px: int = FACE_SIZE,
    window: MelWindow = LIPGAN_WINDOW,
    *,
    masked: bool = True,
) -> Samples:
    """Evenly spaced frames of some clips, as serving would feed them.

    Args:
        clips: From a cache.
        count: Frames wanted.
        crop_px: The network's.
        window: The network's.
        masked: Each frame is its own identity and has its lower half hidden; otherwise the clip's most open mouth is
            the identity, and the frame's mouth is shut.

    Raises:
        ExportError: The clips were cached for another crop.
    """
    frames = [(clip, index) for clip in clips for index in range(len(clip.crops))]
    chosen = [frames[int(at)] for at in np.linspace(0, len(frames) - 1, min(count, len(frames)))]
    faces = []
    for clip, index in chosen:
        crop = _inside(clip.crops[index], crop_px)
        if masked:
            faces.append(generator_input(crop, crop))
            continue
        identity = _inside(clip.crops[int(np.argmax(clip.opening))], crop_px)
        faces.append(generator_input(identity, close_mouth(crop, clip.landmarks[index]), crop_px))
    windows = [window_at(clip.mel, int(clip.pts_ns[index]), window) for clip, index in chosen]
    return Samples(np.stack(faces), np.stack(windows)[:, None])


def _inside(cached: NDArray[np.uint8], crop_px: int) -> NDArray[np.uint8]:
    """The product's own crop out of a cached one with its margin."""
    if size_of(cached) != crop_px:
        raise ExportError(
            f"the cache has crops of {size_of(cached)} px, the network takes {crop_px} px; prepare one with "
            f"--crop-px {crop_px}"
        )
    return np.ascontiguousarray(inner(cached))


def generator_of_run(checkpoint: Path) -> tuple[TrainedGenerator, dict[str, object]]:
    """The averaged generator of a training run, with notes for its file.

    Raises:
        ConfigError: Missing or broken file.
    """
    state = load_checkpoint(checkpoint)
    generator = new_generator(build(NetworkConfig, state["config"]["network"], str(checkpoint)))
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
    parser.add_argument("--identity", choices=IDENTITIES, default=IDENTITIES[0], help="default: %(default)s")
    parser.add_argument("--precisions", default="fp32,bf16,int8", help="comma-separated")


def run(parsed: argparse.Namespace, say: Callable[[str], None] = print) -> EngineManifest:
    """Do what the options say."""
    out_dir: Path = parsed.out or WEIGHTS / parsed.name
    out_dir.mkdir(parents=True, exist_ok=True)
    source: Path = parsed.checkpoint
    stored = out_dir / ".checkpoint.safetensors"
    try:
        if source.suffix == ".safetensors":
            shutil.copyfile(source, stored)
        else:
            save_generator(stored, *generator_of_run(source))
        generator = load_generator(stored)
        fed = crop_px_of(generator), window_of(generator)
        masked = masks(generator)
        calibration = samples_from(load_clips(parsed.cache, {"train"}), CALIBRATION_SAMPLES, *fed, masked=masked)
        gate = samples_from(load_clips(parsed.cache, {"held_clip", "held_person"}), GATE_SAMPLES, *fed, masked=masked)
        precisions = parsed.precisions.split(",")
        manifest = export(
            stored,
            out_dir,
            precisions,
            calibration=calibration,
            gate=gate,
            licence=licence_of(generator),
            name=parsed.name,
            identity=parsed.identity,
        )
    finally:
        stored.unlink(missing_ok=True)
    for line in _report(manifest):
        say(line)
    return manifest


def licence_of(generator: Generator) -> Licence:
    """What the recipes' generators are made of."""
    heard = (RECOGNISER,) if isinstance(generator.sound, SpeechEar) else ()
    return replace(LICENCE, data=LICENCE.data + heard)


def _report(manifest: EngineManifest) -> Iterator[str]:
    for precision, files in manifest.engines.items():
        parity = files.parity
        yield (
            f"{precision}: {parity.psnr_db:.1f} dB against torch on {parity.samples} inputs "
            f"(worst {parity.worst_psnr_db:.1f}, at least {parity.limit_db:.0f})"
        )
    yield f"default precision: {manifest.default_precision}"
