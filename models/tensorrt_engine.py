"""Runs a TensorRT plan on an NVIDIA card: on our stream, in buffers of ours, in batches of set sizes.

Shapes and addresses repeat, so that whoever has kernels before and behind the network records all of it as one graph.
"""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernels.cuda.device import Device, DeviceError
from models.engine import EngineError, TensorSpec
from models.tensorrt_plan import PlanRecord, rebuild
from models.tensorrt_runtime import Runtime

Context = Any
"""A `trt.IExecutionContext`."""


class TensorRtEngine:
    """See `DeviceEngine`: one plan, loaded on a card.

    Args:
        path: The plan's file.
        record: What was read beside it; already held against this machine.
        runtime: What runs it.
        device: Where.
        inputs: What the network takes; the first axis is the batch.
        outputs: What it gives.
        runtime_cache: Where TensorRT-RTX keeps what it compiled for this card; None keeps nothing.

    Raises:
        EngineError: The plan cannot be loaded, is not this network's, or the card has no room for it.
    """

    backend = "tensorrt"
    capturable = True

    def __init__(
        self,
        path: Path,
        record: PlanRecord,
        *,
        runtime: Runtime,
        device: Device,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        runtime_cache: Path | None = None,
    ) -> None:
        self.precision = record.precision
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        self.buckets = tuple(sorted(record.buckets))
        self._record, self._runtime, self._device = record, runtime, device
        self._lock = threading.Lock()
        self._closed = False
        self._contexts: dict[int, Context] = {}
        self._scratch: int | None = None
        self._trt_runtime, self._engine = _load(path, record, runtime)
        self._check_tensors(path)
        self._scratch_bytes = int(self._engine.device_memory_size_v2)
        self._kept = _RuntimeCache(runtime_cache)
        self._config = self._new_config()

    def _check_tensors(self, path: Path) -> None:
        """Hold names, shapes and types in the plan against the manifest's."""
        trt, engine = self._runtime.trt, self._engine
        found = {}
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            taken = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            rest = tuple(engine.get_tensor_shape(name))[1:]
            found[name] = (taken, rest, engine.get_tensor_dtype(name) == trt.DataType.FLOAT)
        expected = {
            spec.name: (taken, spec.shape[1:], True)
            for taken, specs in ((True, self.inputs), (False, self.outputs))
            for spec in specs.values()
        }
        if found != expected:
            raise EngineError(
                f"{path} has tensors {found}, its manifest says {expected} (input, shape, float32). "
                f"{rebuild(self._record.network)}"
            )

    def _new_config(self) -> Any:  # noqa: ANN401 - `trt.IRuntimeConfig`
        trt = self._runtime.trt
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._kept.attach(config)
        return config

    # -- on the card -------------------------------------------------------------------------------

    def enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        """Queue the network on pictures that are on the card already; returns before it has run.

        The first call for a bucket allocates and must not be recorded; call once, then record.

        Args:
            batch: One of `buckets`; the memory has room for all of it, whatever part of it is wanted.
            addresses: On the card, of every input and output: C-contiguous, 256-byte aligned, as `inputs` and
                `outputs` say.
            stream: Handle of a stream that is not the default one. Calls on different streams must not overlap: they
                share memory.

        Raises:
            EngineError: The batch or the addresses do not fit, or the card refuses.
            DeviceMemoryFull: The card has no room for what the network needs beside them.
        """
        with self._lock:
            self._enqueue(batch, addresses, stream)

    def _enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        if batch not in self.buckets:
            raise EngineError(f"a batch of {batch} is none of the buckets {list(self.buckets)}; fill it up to one")
        names = {*self.inputs, *self.outputs}
        if addresses.keys() != names:
            raise EngineError(f"the engine needs addresses of {sorted(names)}, found {sorted(addresses)}")
        context = self._context(batch, stream)
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._refusal(f"the address of {name}")
        if not context.execute_async_v3(stream):
            raise self._refusal(f"a batch of {batch}")

    def _context(self, batch: int, stream: int) -> Context:
        """The context of a bucket: with shapes that never change, what was recorded with it stays good."""
        self._check_open()
        if batch in self._contexts:
            return self._contexts[batch]
        context = self._engine.create_execution_context(self._config)
        if context is None:
            raise self._refusal(f"a context for a batch of {batch}")
        if not context.set_optimization_profile_async(self._profile_of(batch), stream):
            raise self._refusal(f"the profile for a batch of {batch}")
        for name, spec in self.inputs.items():
            if not context.set_input_shape(name, (batch, *spec.shape[1:])):
                raise self._refusal(f"{name} in a batch of {batch}")
        if self._scratch_bytes:
            context.set_device_memory(self._scratch_address(), self._scratch_bytes)
        self._contexts[batch] = context
        return context

    def _profile_of(self, batch: int) -> int:
        fitting = (i for i, each in enumerate(self._record.profiles) if each.smallest <= batch <= each.largest)
        found = next(fitting, None)
        if found is None:
            raise EngineError(f"the plan has no profile for a batch of {batch}. {rebuild(self._record.network)}")
        return found

    def _scratch_address(self) -> int:
        """One piece for all contexts, as only one of them runs at a time."""
        if self._scratch is None:
            self._scratch = self._device.allocate(self._scratch_bytes)
        return self._scratch

    def _refusal(self, what: str) -> EngineError:
        return EngineError(
            f"{self._runtime.title} refuses {what} of {self._record.network} in {self.precision}: "
            f"{self._runtime.log.take()}. {rebuild(self._record.network)}"
        )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine was closed; load it again")

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(DeviceError):
                # A card that is lost finishes nothing.
                self._device.synchronise()
            self._kept.save()
            # Contexts before their engine, the engine before its runtime, memory last.
            self._contexts.clear()
            self._config = self._engine = self._trt_runtime = None
            if self._scratch is not None:
                self._device.free(self._scratch)
                self._scratch = None


class _RuntimeCache:
    """What TensorRT-RTX compiled for this card, kept in a file; it checks itself whether that still fits.

    The other runtimes compile when they build and have no such thing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._cache: Any = None

    def attach(self, config: Any) -> None:  # noqa: ANN401 - `trt.IRuntimeConfig`
        if self._path is None or not hasattr(config, "create_runtime_cache"):
            return
        self._cache = config.create_runtime_cache()
        if self._path.is_file():
            self._cache.deserialize(self._path.read_bytes())
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        if self._path is None or self._cache is None:
            return
        partial = self._path.with_suffix(".tmp")
        partial.write_bytes(bytes(self._cache.serialize()))
        partial.replace(self._path)
        self._cache = None


def _load(path: Path, record: PlanRecord, runtime: Runtime) -> tuple[Any, Any]:
    trt = runtime.trt
    loader = trt.Runtime(runtime.log.logger_for(trt))
    engine = loader.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"{runtime.title} cannot load {path}: {runtime.log.take()}. {rebuild(record.network)}")
    return loader, engine
