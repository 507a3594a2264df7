"""Opens a network's plan on this machine's card, or says in one line what is missing for it."""

from pathlib import Path

from kernels.cuda.device import DeviceError, open_device
from kernels.cuda.driver import Driver
from models.engine import EngineError
from models.manifest import EngineManifest
from models.tensorrt_engine import Card, TensorRtEngine
from models.tensorrt_plan import DEFAULT_PRECISION, plans_folder, read_plan
from models.tensorrt_runtime import Runtime, load_trt

OTHERWISE = ". Or take another back end: --backend openvino"


def find_card(otherwise: str = "") -> Card:
    """The card of this machine.

    Args:
        otherwise: Ends a complaint, from its full stop on: what can be done without one.

    Raises:
        EngineError: There is no driver, it is too old, there is no card, or PyCUDA is missing.
    """
    try:
        driver = Driver()
        capability = driver.compute_capability()
        return Card(open_device(), driver, capability)
    except DeviceError as error:
        raise EngineError(f"TensorRT needs an NVIDIA card: {error}{otherwise}") from error


def open_plan(
    manifest: EngineManifest, precision: str | None, cache_folder: Path | None, card: Card | None = None
) -> TensorRtEngine:
    """Load a network's plan, and run every bucket of it once.

    Args:
        manifest: The network's.
        precision: "fp16", "int8" or "fp8"; None is "fp16".
        cache_folder: Where `visavis engines build` put it.
        card: Whose memory and stream are used; None opens this machine's.

    Raises:
        EngineError: What is missing, in one line with the remedy.
    """
    if cache_folder is None:
        raise EngineError("TensorRT's plans lie in a cache folder, and none was given. Give load_engine a cache_folder")
    runtime = load_trt()
    card = card or find_card(OTHERWISE)
    folder = plans_folder(cache_folder)
    plan, record = read_plan(folder, manifest, precision or DEFAULT_PRECISION, runtime, card.capability)
    return opened(
        TensorRtEngine(
            plan,
            record,
            runtime=runtime,
            card=card,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            runtime_cache=runtime_cache_path(folder, runtime, card.capability),
        )
    )


def opened(loaded: TensorRtEngine) -> TensorRtEngine:
    """The engine, warmed up; closed if that fails."""
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
