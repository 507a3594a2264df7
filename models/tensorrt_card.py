"""Opens a network's plan on this machine's card, or says in one line what is missing for it."""

from pathlib import Path

from kernels.cuda.device import Device, DeviceError, open_device
from models.card_engine import CardEngine
from models.engine import EngineError
from models.manifest import EngineManifest
from models.tensorrt_engine import TensorRtEngine
from models.tensorrt_plan import DEFAULT_PRECISION, PlanRecord, plans_folder, read_plan
from models.tensorrt_runtime import Runtime, load_trt


def find_card() -> Device:
    """The card of this machine.

    Raises:
        EngineError: There is no driver, it is too old, there is no card, or pycuda is missing.
    """
    try:
        return open_device()
    except DeviceError as error:
        raise EngineError(f"TensorRT needs an NVIDIA card: {error}") from error


def capability_of(device: Device) -> str:
    """A card's compute capability, such as "8.6"."""
    return "{}.{}".format(*device.capability)


def open_plan(
    manifest: EngineManifest, precision: str | None, cache_folder: Path | None, device: Device | None = None
) -> CardEngine:
    """Load a network's plan, and run every bucket of it once.

    Args:
        manifest: The network's.
        precision: "fp16", "int8" or "fp8"; None is "fp16".
        cache_folder: Where `visavis engines build` put it.
        device: Whose memory and stream are used, and which stays open; None opens this machine's.

    Raises:
        EngineError: What is missing, in one line with the remedy.
    """
    if cache_folder is None:
        raise EngineError("TensorRT's plans lie in a cache folder, and none was given. Give load_engine a cache_folder")
    runtime = load_trt()
    card = device or find_card()
    folder = plans_folder(cache_folder)
    try:
        plan, record = read_plan(folder, manifest, precision or DEFAULT_PRECISION, runtime, capability_of(card))
        return opened(plan, record, runtime, card, manifest, folder, keeps_device=device is not None)
    except EngineError:
        if device is None:
            card.close()
        raise


def opened(
    plan: Path,
    record: PlanRecord,
    runtime: Runtime,
    device: Device,
    manifest: EngineManifest,
    folder: Path,
    *,
    keeps_device: bool,
) -> CardEngine:
    """A plan as an engine, warmed up.

    Args:
        plan: Its file.
        record: What is beside it, held against this machine.
        runtime: What runs it.
        device: Where.
        manifest: The network's.
        folder: Where what is compiled at run time is kept.
        keeps_device: See `CardEngine`.

    Raises:
        EngineError: It cannot be loaded, or the card has no room; nothing of it is left there.
    """
    network = TensorRtEngine(
        plan,
        record,
        runtime=runtime,
        device=device,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        runtime_cache=runtime_cache_path(folder, runtime, capability_of(device)),
    )
    loaded = CardEngine(network, device, keeps_device=keeps_device)
    try:
        loaded.warm_up()
    except EngineError:
        loaded.close()
        raise
    return loaded


def runtime_cache_path(folder: Path, runtime: Runtime, capability: str) -> Path:
    """Where kernels lie that were compiled at run time."""
    return folder / f"{runtime.name}-{runtime.version}-sm{capability.replace('.', '')}.runtime"


def timing_cache_path(folder: Path, runtime: Runtime, capability: str) -> Path:
    """Where a builder keeps what it measured."""
    return folder / f"{runtime.name}-{runtime.version}-sm{capability.replace('.', '')}.timing"
