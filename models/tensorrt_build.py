"""Builds a TensorRT plan from ONNX: strongly typed, a profile for each bucket of the batch, or one for all of them.

Source: NVIDIA TensorRT 10.16, 11.4 and TensorRT-RTX 1.7 Python API; only names that all three have, see
`models.tensorrt_runtime`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.engine import EngineError
from models.tensorrt_runtime import Runtime

BUCKETS = (1, 4, 8, 16, 32)
"""Batches that run as they are; others are filled up to the next of them."""

_WORKSPACE_BYTES = 1 << 30
_THOROUGH = 5
"""Of 0 to 5: a plan is built once and run for months."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Batches that one part of a plan runs.

    Attributes:
        smallest: At least.
        best: What its kernels are chosen for.
        largest: At most.
    """

    smallest: int
    best: int
    largest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a builder gave.

    Attributes:
        data: The plan.
        timing_cache: What it measured, to build the next one faster; empty where the runtime keeps nothing.
    """

    data: bytes
    timing_cache: bytes


def profiles_for(runtime: Runtime) -> tuple[Profile, ...]:
    """TensorRT chooses its kernels when it builds: a profile for each bucket. RTX does when it runs: one is enough.

    Five of them made plans of RTX 1.5 to 4 times larger, and took 2 to 3 times longer.
    """
    if runtime.name == "tensorrt_rtx":
        return (Profile(1, 8, BUCKETS[-1]),)
    before = (0, *BUCKETS)
    return tuple(Profile(before[i] + 1, largest, largest) for i, largest in enumerate(BUCKETS))


def build_plan(
    runtime: Runtime,
    onnx: bytes,
    profiles: Sequence[Profile],
    *,
    capabilities: Sequence[str] = (),
    timing_cache: bytes = b"",
) -> Plan:
    """Build.

    Args:
        runtime: Whose plan.
        onnx: The network; the first axis of every input is the batch.
        profiles: Batches to build for.
        capabilities: Compute capabilities such as "8.6" to build for; none is this machine's card. Only TensorRT-RTX
            builds for others, and it needs no card for that.
        timing_cache: As an earlier `Plan` gave it; one of another version or card is passed over.

    Raises:
        EngineError: The network cannot be read or built.
    """
    trt = runtime.trt
    logger = runtime.log.logger_for(trt)
    builder = _made(runtime, "no builder", trt.Builder, logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        raise EngineError(f"{runtime.title} cannot read the network: {_parser_errors(parser)}. Please report it")
    config = builder.create_builder_config()
    config.builder_optimization_level = _THOROUGH
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    _target(runtime, config, capabilities)
    for profile in profiles:
        config.add_optimization_profile(_trt_profile(builder, network, profile))
    cache = config.create_timing_cache(timing_cache)
    if cache is not None:
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{runtime.title} cannot build the network: {runtime.log.take()}")
    kept = config.get_timing_cache()
    return Plan(bytes(plan), b"" if kept is None else bytes(kept.serialize()))


def _made(runtime: Runtime, what: str, make: Any, *arguments: Any) -> Any:  # noqa: ANN401 - objects of the runtime
    """Make an object of the runtime; without a driver a constructor gives nothing, which pybind11 calls a TypeError."""
    try:
        made = make(*arguments)
    except (TypeError, RuntimeError) as error:
        raise EngineError(f"{runtime.title} makes {what}: {runtime.log.take()} ({error})") from None
    if made is None:
        raise EngineError(f"{runtime.title} makes {what}: {runtime.log.take()}")
    return made


def _parser_errors(parser: Any) -> str:  # noqa: ANN401 - `trt.OnnxParser`
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    return "; ".join(f"{each.node_operator()} {each.node_name()}: {each.desc()}" for each in found) or "no reason given"


def _target(runtime: Runtime, config: Any, capabilities: Sequence[str]) -> None:  # noqa: ANN401 - `trt.IBuilderConfig`
    """Say for which cards; left alone, a builder takes this machine's."""
    if not capabilities:
        return
    if not hasattr(config, "set_compute_capability"):
        raise EngineError(f"{runtime.title} builds for the card of this machine alone, asked for {list(capabilities)}")
    config.num_compute_capabilities = len(capabilities)
    for i, each in enumerate(capabilities):
        name = f"SM{each.replace('.', '')}"
        known = getattr(runtime.trt.ComputeCapability, name, None)
        if known is None:
            raise EngineError(f"{runtime.title} does not know compute capability {each}. Take a card that it knows")
        config.set_compute_capability(known, i)


def _trt_profile(builder: Any, network: Any, profile: Profile) -> Any:  # noqa: ANN401 - objects of the runtime
    made = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        given = network.get_input(i)
        rest = tuple(given.shape)[1:]
        made.set_shape(given.name, (profile.smallest, *rest), (profile.best, *rest), (profile.largest, *rest))
    return made
