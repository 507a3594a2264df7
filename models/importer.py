"""Turns a published checkpoint into an engine of ours, through checks that nothing wrong passes.

Published generators take their two faces and their colours in another order than ours. The order is moved into the
weights, once: the first convolution's input channels and the last one's output channels are permuted, so that the
engine keeps the one contract that serving knows. What comes out is compared twice with the published network run on
published input: the permuted network in torch, and every engine that was written.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.mel import MelWindow
from models.catalogue import FASTEST_FIRST, serving_crop, serving_mel
from models.checkpoint import save_generator
from models.gate import INFERENCE_PRECISION, LIMIT_DB, ExportError, gated, measure_parity, run_all
from models.generators import Generator, family_of, generator_inputs, generator_output
from models.graphs import Samples, write_graphs
from models.manifest import SCHEMA, Checkpoint, EngineManifest, Licence, Parity, sha256_of
from models.openvino_engine import supports
from models.published import FORMATS
from models.published_keras import VARIANT_OF, KerasLipGan, read_keras, to_generator
from models.published_torch import fill, first_bytes, read_state_dict
from models.torch_engine import TorchEngine
from models.wav2lip import Wav2LipGenerator

CHECKPOINT_FILE = "generator.safetensors"

CONVERSION_LIMIT_DB = 80.0
"""Published against permuted network, both in float32: sums in another order, about 120 dB."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Draw = Callable[[Tensor, Tensor], Tensor]
"""A generator as a function of face [N, 6, 96, 96] and mel [N, 1, 80, T]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """What to import.

    Attributes:
        source: The published file.
        format: One of `models.published.FORMATS`.
        folder: Gets a folder of that name; made if it is missing.
        name: The network's name in the catalogue.
        window: Mel columns that a picture sees when serving.
        identity: Which picture gives the identity channels when serving, see `CropInput`.
        precisions: Which engines to make.
        licence: Goes into the manifest.
    """

    source: Path
    format: str
    folder: Path
    name: str
    window: MelWindow
    identity: str
    precisions: Sequence[str]
    licence: Licence


def import_checkpoint(job: ImportJob, *, calibration: Samples, gate: Samples) -> tuple[EngineManifest, Parity]:
    """Read, permute, compare, write; the folder appears whole, or not at all.

    Args:
        job: What to import.
        calibration: Real inputs, from which int8 takes its ranges.
        gate: Real inputs apart from these, on which everything is compared.

    Returns:
        The manifest, and how near the permuted network came to the published one in torch.

    Raises:
        EngineError: The job cannot be done, the file is not what it should be, or a comparison failed.
    """
    check_job(job)
    published, generator = read_published(job)
    expected = published_pictures(published, job.format, gate)
    conversion = measure_parity(expected, run_all(TorchEngine(generator), gate), CONVERSION_LIMIT_DB)
    if not conversion.psnr_db >= conversion.limit_db:
        raise ExportError(
            f"{job.source} is refused: in our channel order it draws other pictures than in its own "
            f"({conversion.psnr_db:.1f} dB, {conversion.max_abs:g} at most, expected at least "
            f"{conversion.limit_db:.0f} dB). Its weights may not be finite; otherwise please report it"
        )
    with _staging(job) as staging:
        _check_space(staging, generator)
        manifest = _write(staging, job, generator, calibration, gate, expected, conversion)
        manifest.save(staging)
        _publish(staging, job)
    return manifest, conversion


def check_job(job: ImportJob) -> None:
    """Refuse what cannot work before any work is done.

    Raises:
        EngineError: A name, precision or window that cannot be, a folder that is taken, a file that cannot be read.
    """
    if not _NAME.fullmatch(job.name):
        raise ExportError(f"--name is {job.name!r}, expected small letters, digits, dots, dashes, such as my-wav2lip")
    if (job.folder / job.name).exists():
        raise ExportError(f"{job.folder / job.name} is there already: give another --name, or remove that folder")
    if not job.precisions or set(job.precisions) - set(LIMIT_DB):
        raise ExportError(f"--precisions is {','.join(job.precisions)!r}, expected some of {','.join(LIMIT_DB)}")
    missing = [each for each in job.precisions if not supports(INFERENCE_PRECISION[each])]
    if missing:
        raise ExportError(f"this processor cannot check {', '.join(missing)}: leave it out of --precisions")
    columns = FORMATS[job.format].window.columns
    if job.window.columns != columns:
        raise ExportError(f"the window has {job.window.columns} columns, {job.format} takes {columns}")
    first_bytes(job.source)


# -- the published order and ours ------------------------------------------------------------------

_OUR_FROM_THEIRS = {"wav2lip": (5, 4, 3, 2, 1, 0), "lipgan": (2, 1, 0, 5, 4, 3)}
"""For each input channel of ours (identity R, G, B, target R, G, B) the channel of theirs that it is, by family."""

_COLOURS_REVERSED = [2, 1, 0]


def read_published(job: ImportJob) -> tuple[Draw, Generator]:
    """The published network, channels in its own order, and the one that serving takes.

    Raises:
        EngineError: The file is not a checkpoint of this network.
    """
    generator: Generator
    published: Draw
    if job.format == "wav2lip":
        generator = Wav2LipGenerator().eval()
        fill(generator, read_state_dict(job.source), job.source)
        published = copy.deepcopy(generator)
    else:
        layers = read_keras(job.source)
        variant = VARIANT_OF[job.format]
        generator = to_generator(layers, variant, job.source)
        published = KerasLipGan(layers, variant)
    permute(generator)
    return published, generator


def permute(generator: Generator) -> None:
    """Move the order of channels into the weights: published order in, ours out."""
    convs = [each for each in generator.modules() if isinstance(each, nn.Conv2d)]
    first, last = convs[0], convs[-1]
    assert (first.in_channels, last.out_channels) == (6, 3)
    assert last.bias is not None
    with torch.no_grad():
        first.weight.copy_(first.weight[:, list(_OUR_FROM_THEIRS[family_of(generator)])])
        last.weight.copy_(last.weight[_COLOURS_REVERSED])
        last.bias.copy_(last.bias[_COLOURS_REVERSED])


def published_pictures(published: Draw, format_: str, samples: Samples) -> NDArray[np.float32]:
    """What the published network draws, given and returned as its own inference does, turned into RGB at the end.

    Returns:
        float32 [K, 3, 96, 96].
    """
    identity, target = (torch.from_numpy(samples.face[:, part]) for part in (slice(0, 3), slice(3, 6)))
    identity_bgr, target_bgr = identity.flip(1), target.flip(1)
    pair = (target_bgr, identity_bgr) if format_ == "wav2lip" else (identity_bgr, target_bgr)
    faces, mels = torch.cat(pair, dim=1), torch.from_numpy(samples.mel)
    with torch.inference_mode():
        drawn = [published(faces[i : i + 1], mels[i : i + 1]) for i in range(len(samples))]
    return np.ascontiguousarray(torch.cat(drawn).flip(1).numpy())


# -- files -----------------------------------------------------------------------------------------


def _write(
    staging: Path,
    job: ImportJob,
    generator: Generator,
    calibration: Samples,
    gate: Samples,
    expected: NDArray[np.float32],
    conversion: Parity,
) -> EngineManifest:
    """Write checkpoint and graphs, pass each precision through the gate, and describe it all."""
    save_generator(staging / CHECKPOINT_FILE, generator, storage="float32")
    inputs, output = generator_inputs(generator), generator_output(generator)
    write_graphs(generator, staging, job.precisions, calibration, half=False)
    engines = {each: gated(staging, each, inputs, output, gate, expected) for each in job.precisions}
    imported = {
        "format": job.format,
        "file": job.source.name,
        "sha256": sha256_of(job.source),
        "psnr_db": conversion.psnr_db,
        "trained_crop": FORMATS[job.format].trained_crop,
    }
    packages = ("openvino", "torch", *(["nncf"] if "int8" in job.precisions else []))
    return EngineManifest(
        schema=SCHEMA,
        name=job.name,
        network={"family": family_of(generator), **generator.config.as_dict(), "imported": imported},
        checkpoint=Checkpoint(CHECKPOINT_FILE, sha256_of(staging / CHECKPOINT_FILE)),
        inputs=inputs,
        outputs=(output,),
        mel=serving_mel(job.window),
        crop=serving_crop(identity=job.identity),
        default_precision=next(each for each in FASTEST_FIRST if each in engines),
        engines=engines,
        versions={package: metadata.version(package) for package in packages},
        licence=job.licence,
    )


@contextmanager
def _staging(job: ImportJob) -> Iterator[Path]:
    """A folder beside the final one, gone in the end whatever happens."""
    staging = job.folder / f".{job.name}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
        yield staging
    except OSError as error:
        raise ExportError(
            f"{job.folder} cannot be written ({error.strerror or error}): choose another --into"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_space(staging: Path, generator: Generator) -> None:
    """Refuse a disk that is too full: checkpoint and float graph have four bytes a weight each, int8 one."""
    needed = 9 * sum(tensor.numel() for tensor in generator.state_dict().values()) + (8 << 20)
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise ExportError(
            f"{staging.parent} has {free >> 20} MiB free, the engine needs {needed >> 20}: free some, or choose "
            "another --into"
        )


def _publish(staging: Path, job: ImportJob) -> None:
    """One rename; the system refuses it if the name was taken meanwhile."""
    staging.rename(job.folder / job.name)
