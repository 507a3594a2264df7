"""From a trained network to a filter that can be served, through a gate that nothing broken passes.

What is written is loaded back and held against torch in float32, on inputs that the quantisation never saw; only then
does it get its name. A network with a state is held against torch over runs of frames, each engine with its own state.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from models.catalogue import FASTEST_FIRST
from models.filter_graphs import (
    GRAPH_NAME,
    Array,
    AsTrained,
    FilterSamples,
    ServedFilter,
    as_served,
    normalisation_of,
    pictures,
    write_filter_graphs,
)
from models.filter_manifest import SCHEMA, FilterManifest, problems
from models.filter_networks import (
    FilterNetwork,
    Size,
    check_size,
    config_of,
    family_of,
    filter_inputs,
    filter_outputs,
    is_recurrent,
    load_filter_weights,
    save_filter_weights,
)
from models.gate import INFERENCE_PRECISION, LIMIT_DB, ExportError, measure_parity
from models.manifest import Checkpoint, EngineFiles, Licence, Parity, sha256_of
from models.openvino_engine import OpenVinoEngine, supports

CHECKPOINT_FILE = "filter.safetensors"
MIN_SAMPLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterJob:
    """What to make of a network.

    Attributes:
        folder: Of the filter; its name is the filter's. Files in it that are not ours stay.
        title: One line for a list.
        size_px: Height and width that the network runs at.
        region: See `models.filter_manifest.REGIONS`.
        source: See `models.filter_manifest.SOURCES`.
        classes: Of a layout, by channel.
        how: How the network draws what it was trained to.
        precisions: Which engines to make; the fastest becomes the default.
        licence: Goes into the manifest.
        half: Store the weights in half precision.
        origin: Goes into the manifest's field `network`, as "imported", for weights from elsewhere.
    """

    folder: Path
    title: str
    size_px: Size
    licence: Licence
    region: str = "frame"
    source: str = "picture"
    classes: tuple[str, ...] = ()
    how: AsTrained = field(default_factory=AsTrained)
    precisions: tuple[str, ...] = ("fp32", "int8")
    half: bool = True
    origin: dict[str, object] | None = None


def export_filter(
    network: FilterNetwork, job: FilterJob, *, calibration: FilterSamples, gate: FilterSamples
) -> FilterManifest:
    """Write weights, graphs and manifest of a filter.

    Args:
        network: As trained.
        job: What to make of it.
        calibration: Real inputs, from which int8 takes its ranges.
        gate: Real inputs apart from these, on which engines are held against torch.

    Raises:
        ExportError: An engine differs from torch by more than `LIMIT_DB`, or the job does not fit the network.
        EngineError: OpenVINO cannot run a precision here.
    """
    calibration, gate = (each.with_noise(network, job.how.seed) for each in (calibration, gate))
    _check(network, job, calibration, gate)
    staging = job.folder / ".partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        manifest = _write(staging, network, job, calibration, gate)
        for path in sorted(staging.iterdir()):
            # The manifest comes last: a crash in between leaves a mismatch that loading reports.
            path.replace(job.folder / path.name)
        manifest.save(job.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _check(network: FilterNetwork, job: FilterJob, calibration: FilterSamples, gate: FilterSamples) -> None:
    if not job.precisions or set(job.precisions) - set(LIMIT_DB):
        raise ExportError(f"precisions are {list(job.precisions)}, expected some of {list(LIMIT_DB)}")
    missing = [each for each in job.precisions if not supports(INFERENCE_PRECISION[each])]
    if missing:
        raise ExportError(f"this processor cannot check {', '.join(missing)}: leave it out of the precisions")
    if min(len(calibration), len(gate)) < MIN_SAMPLES:
        raise ExportError(
            f"{len(calibration)} calibration and {len(gate)} gate samples, expected at least {MIN_SAMPLES} of each"
        )
    try:
        check_size(network, job.size_px)
    except ValueError as error:
        raise ExportError(str(error)) from None
    wanted = filter_inputs(network, job.size_px)[0]
    for samples in (calibration, gate):
        if not wanted.fits(samples.frames):
            raise ExportError(f"samples are {samples.frames.dtype} {list(samples.frames.shape)}, expected {wanted}")


def _write(
    staging: Path, network: FilterNetwork, job: FilterJob, calibration: FilterSamples, gate: FilterSamples
) -> FilterManifest:
    save_filter_weights(staging / CHECKPOINT_FILE, network, storage="float16" if job.half else "float32")
    # What is shipped is what was stored: in half precision, another network than the one that was trained.
    served = as_served(load_filter_weights(staging / CHECKPOINT_FILE), job.size_px, job.how)
    write_filter_graphs(served, job.size_px, staging, job.precisions, calibration)
    expected = pictures(ServedFilter(served, job.size_px), gate)
    engines = {each: _gated(staging, each, network, job.size_px, gate, expected) for each in job.precisions}
    manifest = _manifest(staging, network, job, engines)
    if (problem := next(problems(manifest), None)) is not None:
        raise ExportError(f"{problem}. Nothing was written")
    return manifest


def _gated(
    folder: Path, precision: str, network: FilterNetwork, size_px: Size, gate: FilterSamples, expected: Array
) -> EngineFiles:
    xml, constants = (folder / f"{GRAPH_NAME[precision]}.{suffix}" for suffix in ("xml", "bin"))
    engine = OpenVinoEngine(
        xml,
        inputs=filter_inputs(network, size_px),
        outputs=filter_outputs(network, size_px),
        precision=precision,
        inference_precision=INFERENCE_PRECISION[precision],
        threads=1,
    )
    parity = measure_parity(expected, pictures(engine, gate), LIMIT_DB[precision])
    engine.close()
    check_parity(precision, parity)
    sha256 = {path.name: sha256_of(path) for path in (xml, constants)}
    return EngineFiles("openvino", xml.name, constants.name, sha256, INFERENCE_PRECISION[precision], parity)


def check_parity(what: str, parity: Parity) -> None:
    """Refuse pictures that are too far from torch's.

    Raises:
        ExportError: They are.
    """
    if not parity.psnr_db >= parity.limit_db:
        raise ExportError(
            f"{what} is refused: {parity.psnr_db:.1f} dB against torch on {parity.samples} inputs "
            f"(worst {parity.worst_psnr_db:.1f}), expected at least {parity.limit_db:.0f}. "
            f"Leave it out of the precisions, or calibrate with more samples"
        )


def _manifest(staging: Path, network: FilterNetwork, job: FilterJob, engines: dict[str, EngineFiles]) -> FilterManifest:
    packages = ("openvino", "torch", *(["nncf"] if "int8" in engines else []))
    origin = {"imported": job.origin} if job.origin else {}
    return FilterManifest(
        schema=SCHEMA,
        name=job.folder.name,
        title=job.title,
        size_px=job.size_px,
        region=job.region,
        source=job.source,
        classes=job.classes,
        network={"family": family_of(network), **config_of(network), **origin},
        checkpoint=Checkpoint(CHECKPOINT_FILE, sha256_of(staging / CHECKPOINT_FILE)),
        inputs=filter_inputs(network, job.size_px),
        outputs=filter_outputs(network, job.size_px),
        recurrent=is_recurrent(network),
        normalisation=normalisation_of(network, job.how.statistics),
        dropout=job.how.dropout,
        seed=job.how.seed,
        default_precision=next(each for each in FASTEST_FIRST if each in engines),
        engines=engines,
        versions={package: metadata.version(package) for package in packages},
        licence=job.licence,
    )


def export_report(manifest: FilterManifest) -> Sequence[str]:
    """What the gate found, one line for each engine."""
    return [
        f"{precision}: {files.parity.psnr_db:.1f} dB against torch on {files.parity.samples} inputs "
        f"(worst {files.parity.worst_psnr_db:.1f}, at least {files.parity.limit_db:.0f})"
        for precision, files in manifest.engines.items()
    ]
