"""The JSON file beside a TensorRT plan: for which runtime, card and weights it was built, and how near torch it came.

A plan runs on the version and the kind of card that it was built for, and nowhere else: a runtime that is handed
another one may refuse it, or draw nonsense. So everything is held against this record before a runtime sees the file.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from models.engine import EngineError
from models.manifest import EngineManifest, Parity, check_file, read_record, write_record
from models.tensorrt_build import Profile
from models.tensorrt_runtime import Runtime, titled

SCHEMA = 1

LIMIT_DB = {"fp16": 45.0, "int8": 35.0, "fp8": 35.0}
"""What a plan has to reach against torch in float32, on real inputs."""

DEFAULT_PRECISION = "fp16"


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """What must agree before a plan is run.

    Attributes:
        network: Its name in the catalogue.
        runtime: "tensorrt" or "tensorrt_rtx".
        version: Of the runtime, all of it.
        capabilities: Compute capabilities that it was built for, such as "8.6".
        checkpoint_sha256: Of the weights.
        onnx_sha256: Of the network that was built.
        plan: File name.
        plan_bytes: Its size.
        profiles: Batches that it runs.
        buckets: Batches that it is run with.
    """

    schema: int
    network: str
    precision: str
    runtime: str
    version: str
    capabilities: tuple[str, ...]
    checkpoint_sha256: str
    onnx_sha256: str
    plan: str
    plan_bytes: int
    plan_sha256: str
    profiles: tuple[Profile, ...]
    buckets: tuple[int, ...]
    parity: Parity

    def save(self, folder: Path) -> None:
        """Write it beside the plan, whole or not at all."""
        write_record(self, record_path(folder, self.network, self.precision))


def plans_folder(cache_folder: Path) -> Path:
    """Where plans lie in a user's cache."""
    return cache_folder / "tensorrt"


def plan_path(folder: Path, network: str, precision: str) -> Path:
    """Where a plan lies."""
    return folder / f"{network}-{precision}.plan"


def record_path(folder: Path, network: str, precision: str) -> Path:
    """Where its record lies."""
    return folder / f"{network}-{precision}.json"


def rebuild(network: str) -> str:
    """The command that makes a plan anew."""
    return f"Rebuild it: visavis engines build {network}"


def described(record: PlanRecord) -> str:
    """A plan in one line."""
    return (
        f"{record.precision}: {record.parity.psnr_db:.1f} dB of torch, {record.plan_bytes / 1e6:.0f} MB, for compute "
        f"capability {' and '.join(record.capabilities)} with {titled(record.runtime, record.version)}"
    )


def plans_of(folder: Path, network: str) -> list[PlanRecord]:
    """What was built of a network, for this card or another; nothing is said of what cannot be read."""
    found = []
    for precision in LIMIT_DB:
        with contextlib.suppress(EngineError):
            found.append(read_record(PlanRecord, record_path(folder, network, precision), SCHEMA, rebuild(network)))
    return found


def read_plan(
    folder: Path, manifest: EngineManifest, precision: str, runtime: Runtime, capability: str
) -> tuple[Path, PlanRecord]:
    """Find a plan that this machine may run.

    Args:
        folder: Where plans lie.
        manifest: The network's.
        precision: One of `LIMIT_DB`.
        runtime: What will run it.
        capability: Of the card.

    Returns:
        The plan's file, held against its hash, and its record.

    Raises:
        EngineError: It is not there, stale, foreign or damaged; the message ends with the command that rebuilds it.
    """
    name = manifest.name
    if precision not in LIMIT_DB:
        raise EngineError(f"TensorRT runs {', '.join(LIMIT_DB)}, found precision {precision!r}. Take one of these")
    where = record_path(folder, name, precision)
    if not where.is_file():
        raise EngineError(
            f"{name} in {precision} has not been built for this card ({where} is missing). Build it: "
            f"visavis engines build {name} --precision {precision}"
        )
    record: PlanRecord = read_record(PlanRecord, where, SCHEMA, rebuild(name))
    path = folder / record.plan
    _check_origin(path, record, runtime, capability)
    if record.checkpoint_sha256 != manifest.checkpoint.sha256:
        raise EngineError(f"{path} was built from other weights than {name} has now. {rebuild(name)}")
    _check_whole(path, record)
    return path, record


def _check_origin(path: Path, record: PlanRecord, runtime: Runtime, capability: str) -> None:
    found = (record.runtime, record.version)
    if found != (runtime.name, runtime.version) or capability not in record.capabilities:
        raise EngineError(
            f"{path} was built for compute capability {' and '.join(record.capabilities)} with {titled(*found)}, this "
            f"machine has {capability} and {runtime.title}. {rebuild(record.network)}"
        )


def _check_whole(path: Path, record: PlanRecord) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size is not None and size != record.plan_bytes:
        raise EngineError(
            f"{path} has {size} bytes, its record says {record.plan_bytes}: it is truncated. {rebuild(record.network)}"
        )
    check_file(path, record.plan_sha256, rebuild(record.network))
