"""From a network's checkpoint to a TensorRT plan for this card, through the gate that every engine passes.

The plan is built under another name, loaded, and held against torch in float32; only then does it get its own, its
record last. What fails leaves the plan that was there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kernels.cuda.device import Device
from models.checkpoint import load_generator
from models.engine import EngineError
from models.graphs import Samples
from models.manifest import EngineManifest, Parity, check_file, sha256_of
from models.onnx_export import export_onnx, onnx_bytes
from models.plan_gate import pass_gate
from models.tensorrt_build import BUCKETS, build_plan, profiles_for
from models.tensorrt_card import capability_of, opened, timing_cache_path
from models.tensorrt_plan import LIMIT_DB, SCHEMA, PlanRecord, plan_path
from models.tensorrt_runtime import Runtime
from models.torch_engine import TorchEngine

UNMEASURED = Parity(samples=0, psnr_db=0.0, worst_psnr_db=0.0, max_abs=0.0, limit_db=0.0)
"""In the record of a plan that has no name yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJob:
    """What to build.

    Attributes:
        weights: The network's folder.
        manifest: Its manifest.
        precisions: Some of `LIMIT_DB`.
        folder: Where plans lie.
    """

    weights: Path
    manifest: EngineManifest
    precisions: Sequence[str]
    folder: Path


def build_plans(
    job: PlanJob, runtime: Runtime, device: Device, *, calibration: Samples, gate: Samples
) -> Iterator[PlanRecord]:
    """Build, hold against torch, publish; one precision after the other.

    Args:
        job: What to build.
        runtime: By what.
        device: On what.
        calibration: Real inputs, from which int8 and fp8 take their ranges.
        gate: Real inputs apart from these.

    Raises:
        EngineError: The checkpoint is damaged, or a plan cannot be built, is not near enough or cannot be written.
    """
    checkpoint = job.weights / job.manifest.checkpoint.file
    check_file(checkpoint, job.manifest.checkpoint.sha256, "Fetch it again: git checkout -- models/weights")
    generator = load_generator(checkpoint)
    made = export_onnx(generator, job.precisions, calibration)
    reference = TorchEngine(generator)
    for precision in job.precisions:
        with _staging(job, precision) as staging:
            record = _build(job, precision, onnx_bytes(made[precision]), runtime, capability_of(device), staging)
            plan = staging / record.plan
            engine = opened(plan, record, runtime, device, job.manifest, job.folder, keeps_device=True)
            try:
                parity = pass_gate(engine, reference, gate, job.manifest, LIMIT_DB[precision])
            finally:
                engine.close()
            record = replace(record, parity=parity)
            (staging / record.plan).replace(job.folder / record.plan)
            # Last: a crash in between leaves a record that does not fit its plan, which loading reports.
            record.save(job.folder)
        yield record


@contextmanager
def _staging(job: PlanJob, precision: str) -> Iterator[Path]:
    """A folder beside the final files, gone in the end whatever happens."""
    staging = job.folder / f".{job.manifest.name}-{precision}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
        yield staging
    except OSError as error:
        raise EngineError(
            f"{job.folder} cannot be written ({error.strerror or error}): free some space, or set XDG_CACHE_HOME to a "
            "folder of yours"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _build(job: PlanJob, precision: str, onnx: bytes, runtime: Runtime, capability: str, staging: Path) -> PlanRecord:
    timing = timing_cache_path(job.folder, runtime, capability)
    profiles = profiles_for(runtime)
    measured = timing.read_bytes() if timing.is_file() else b""
    plan = build_plan(runtime, onnx, profiles, timing_cache=measured)
    if plan.timing_cache:
        (staging / timing.name).write_bytes(plan.timing_cache)
        (staging / timing.name).replace(timing)
    path = plan_path(staging, job.manifest.name, precision)
    path.write_bytes(plan.data)
    return PlanRecord(
        schema=SCHEMA,
        network=job.manifest.name,
        precision=precision,
        runtime=runtime.name,
        version=runtime.version,
        capabilities=(capability,),
        checkpoint_sha256=job.manifest.checkpoint.sha256,
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        plan=path.name,
        plan_bytes=len(plan.data),
        plan_sha256=sha256_of(path),
        profiles=profiles,
        buckets=BUCKETS,
        parity=UNMEASURED,
    )
