"""`python -m models.filter_importer`: published weights of Pix2Pix or OASIS become a filter.

The file is read without running anything in it. What comes out is compared twice with the published network: the
network that was filled, in torch, and every engine that was written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from models.engine import EngineError
from models.filter_export import FilterJob, check_parity, export_filter, export_report
from models.filter_graphs import Array, AsTrained, FilterSamples
from models.filter_manifest import REGIONS, FilterManifest, check_name
from models.filter_networks import Size, check_size
from models.gate import LIMIT_DB, ExportError, measure_parity
from models.manifest import Licence, Parity, sha256_of
from models.oasis import OasisGenerator
from models.published_filters import FORMATS, TERMS, Published, draw_published, format_of, to_filter
from models.published_torch import read_state_dict

CONVERSION_LIMIT_DB = 80.0
"""Published against filled network, both in float32: sums in another order, about 120 dB."""

AS_PUBLISHED: dict[str, AsTrained] = {
    "pix2pix-unet": AsTrained(statistics="picture", dropout="pinned"),
    "pix2pix-resnet": AsTrained(statistics="picture", dropout="pinned"),
    "oasis": AsTrained(),
}
"""How the published code draws: Pix2Pix as while training (but what is dropped is pinned), OASIS in eval."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made.

    Attributes:
        manifest: Of the filter.
        conversion: How near the filled network came to the published one, in torch.
    """

    manifest: FilterManifest
    conversion: Parity


def import_filter(source: Path, job: FilterJob, *, calibration: FilterSamples, gate: FilterSamples) -> Imported:
    """Read, fill, compare, export.

    Args:
        source: The published file.
        job: What to make of it.
        calibration: Real inputs, from which int8 takes its ranges.
        gate: Real inputs apart from these, on which everything is compared.

    Raises:
        EngineError: The file is not what it should be, a comparison failed, or the job does not fit the network.
    """
    check_name(job.folder.name)
    if job.folder.exists() and any(job.folder.iterdir()):
        raise ExportError(f"{job.folder} is there already: take another name, or remove that folder")
    tensors = read_state_dict(source)
    format_ = format_of(tensors, source)
    network = to_filter(tensors, format_, source)
    job = _with_source(job, network)
    try:
        check_size(network, job.size_px)
    except ValueError as error:
        raise ExportError(str(error)) from None
    gate = gate.with_noise(network, job.how.seed)
    conversion = compare(tensors, format_, network, gate)
    check_parity(f"{source}, read as {FORMATS[format_]},", conversion)
    origin = {
        "format": format_,
        "file": source.name,
        "sha256": sha256_of(source),
        "psnr_db": conversion.psnr_db,
    }
    manifest = export_filter(network, replace(job, origin=origin, half=False), calibration=calibration, gate=gate)
    return Imported(manifest, conversion)


def _with_source(job: FilterJob, network: Published) -> FilterJob:
    if not isinstance(network, OasisGenerator) or job.classes:
        return job
    return replace(job, source="layout", classes=tuple(f"class {i}" for i in range(network.config.classes)))


def compare(tensors: dict[str, torch.Tensor], format_: str, network: Published, samples: FilterSamples) -> Parity:
    """Hold a filled network against the published one, both in eval.

    Raises:
        ExportError: The samples have other channels than the network.
    """
    if samples.frames.shape[1] != network.config.in_channels:
        raise ExportError(
            f"samples have {samples.frames.shape[1]} channels, expected {network.config.in_channels} for this network"
        )
    found: list[Array] = []
    expected: list[Array] = []
    with torch.inference_mode():
        for index in range(len(samples)):
            given = [torch.from_numpy(array) for array in samples.frame_feed(index).values()]
            found.append(network(*given).numpy())
            expected.append(draw_published(tensors, format_, *given).numpy())
    drawn, published = (np.concatenate(each) / np.float32(2) for each in (found, expected))
    return measure_parity(published, drawn, CONVERSION_LIMIT_DB)


# -- command ---------------------------------------------------------------------------------------


def pictures_in(folder: Path, size_px: Size, say: Callable[[str], None]) -> Array:
    """All pictures of a folder at one size, float32 RGB [K, 3, H, W] in [-1, 1]; one that cannot be read is named.

    Raises:
        EngineError: There is none.
    """
    found = list(_readable(folder, size_px, say))
    if not found:
        raise EngineError(f"{folder} has no pictures ({', '.join(_SUFFIXES)}). Give a folder of real inputs")
    return np.stack(found)


def _readable(folder: Path, size_px: Size, say: Callable[[str], None]) -> Iterator[Array]:
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            say(f"left out: {path} cannot be read as a picture")
            continue
        scaled = cv2.resize(picture, (size_px[1], size_px[0]), interpolation=cv2.INTER_AREA)
        rgb = cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB).astype(np.float32)
        yield np.ascontiguousarray(rgb.transpose(2, 0, 1) / 127.5 - 1.0)


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Import one file; 2 when the operator must change something."""
    asked = _parser().parse_args(argv)
    try:
        imported = _run(asked, say)
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say(f"read as published: {imported.conversion.psnr_db:.1f} dB, at least {CONVERSION_LIMIT_DB:.0f}")
    for line in export_report(imported.manifest):
        say(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.filter_importer", description=__doc__)
    parser.add_argument("source", type=Path, help="the published file: .pth, .pt or .safetensors")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="gets a folder of the filter's name")
    parser.add_argument("--name", required=True)
    parser.add_argument("--title", help="one line for a list; by default what was imported")
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR", help="real inputs, at least 16")
    parser.add_argument("--size", type=int, default=256, help="side in pixels; default: %(default)s")
    parser.add_argument("--region", choices=tuple(REGIONS), default="frame")
    parser.add_argument("--precisions", default="fp32,int8", help="comma-separated, of " + ",".join(LIMIT_DB))
    parser.add_argument(
        "--eval", action="store_true", help="stored statistics and nothing dropped, where the published code differs"
    )
    return parser


def _run(asked: argparse.Namespace, say: Callable[[str], None]) -> Imported:
    format_ = format_of(read_state_dict(asked.source), asked.source)
    if format_ == "oasis":
        raise EngineError(
            f"{asked.source} draws from layouts, which a folder of pictures has not. Use models.filter_importer."
            "import_filter with one-hot layouts"
        )
    size_px = asked.size, asked.size
    pictures = pictures_in(asked.pictures, size_px, say)
    job = FilterJob(
        folder=asked.into / asked.name,
        title=asked.title or f"Imported from {asked.source.name}",
        size_px=size_px,
        licence=Licence(TERMS[format_], ("as published with the weights",)),
        region=asked.region,
        how=AsTrained() if asked.eval else AS_PUBLISHED[format_],
        precisions=tuple(asked.precisions.split(",")),
    )
    calibration, gate = FilterSamples(pictures[::2].copy()), FilterSamples(pictures[1::2].copy())
    return import_filter(asked.source, job, calibration=calibration, gate=gate)


if __name__ == "__main__":
    sys.exit(main())
