"""Runs a TensorRT plan on an NVIDIA card: on our stream, in buffers of ours, a CUDA graph for each bucket of the batch.

A batch is filled up to the next bucket, so that shapes and addresses repeat and the whole network is queued by one
call. `infer` copies to the card and back; a renderer that has its pictures there already calls `enqueue` with their
addresses, inside a graph of its own if it likes.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kernels.cuda.device import Device, DeviceError
from models.engine import Array, EngineError, TensorSpec, check_feed
from models.tensorrt_plan import PlanRecord, rebuild
from models.tensorrt_runtime import Runtime

Context = Any
"""A `trt.IExecutionContext`."""


class Graph(Protocol):
    """Recorded work; `kernels.cuda.driver.Graph` is one."""

    def launch(self, stream: int) -> None:
        """Queue it."""

    def close(self) -> None:
        """Give it back."""


class Recorder(Protocol):
    """What records work as a graph; `kernels.cuda.driver.Driver` is one."""

    def capture(self, stream: int, work: Callable[[], None]) -> Graph:
        """Record what `work` queues on a stream instead of running it."""


@dataclass(frozen=True, slots=True)
class Card:
    """What an engine needs of a machine.

    Attributes:
        device: Memory and the stream.
        recorder: Makes graphs; None queues layer by layer.
        capability: Of the card, such as "8.6".
    """

    device: Device
    recorder: Recorder | None
    capability: str


class TensorRtEngine:
    """One plan, loaded on a card. The thread that opened the device opens, runs and closes it.

    Args:
        path: The plan's file.
        record: What was read beside it; already held against this machine.
        runtime: What runs it.
        card: Where.
        inputs: What the network takes; the first axis is the batch.
        outputs: What it gives.
        runtime_cache: Where TensorRT-RTX keeps what it compiled for this card; None keeps nothing.

    Raises:
        EngineError: The plan cannot be loaded, is not this network's, or the card has no room for it.
    """

    backend = "tensorrt"

    def __init__(
        self,
        path: Path,
        record: PlanRecord,
        *,
        runtime: Runtime,
        card: Card,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        runtime_cache: Path | None = None,
    ) -> None:
        self.precision = record.precision
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        self.buckets = tuple(sorted(record.buckets))
        self._record, self._runtime, self._card = record, runtime, card
        self._lock = threading.Lock()
        self._closed = False
        self._contexts: dict[int, Context] = {}
        self._graphs: dict[int, Graph] = {}
        self._addresses: dict[str, int] = {}
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

    def bucket_for(self, batch: int) -> int:
        """The smallest bucket that holds a batch.

        Raises:
            EngineError: None does.
        """
        found = next((each for each in self.buckets if each >= batch >= 1), None)
        if found is None:
            raise EngineError(f"a batch of {batch} is not within 1 to {self.buckets[-1]}; split it")
        return found

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
            self._scratch = self._allocate(self._scratch_bytes)
        return self._scratch

    def _allocate(self, size: int) -> int:
        try:
            return self._card.device.allocate(size)
        except DeviceError as error:
            raise EngineError(
                f"the card has no room for {size >> 20} MiB of {self._record.network} ({error}). "
                "Close what else uses the card, or serve fewer sessions"
            ) from error

    def _refusal(self, what: str) -> EngineError:
        return EngineError(
            f"{self._runtime.title} refuses {what} of {self._record.network} in {self.precision}: "
            f"{self._runtime.log.take()}. {rebuild(self._record.network)}"
        )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine was closed; load it again")

    def warm_up(self) -> None:
        """Run every bucket once: what has to be allocated, compiled or recorded is then there, or an error is.

        Raises:
            EngineError: The card has no room, or refuses.
        """
        for bucket in self.buckets:
            feed = {name: np.zeros((bucket, *_sizes(spec)), spec.dtype) for name, spec in self.inputs.items()}
            self.infer(feed)

    # -- from the host and back --------------------------------------------------------------------

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.infer`; a batch beyond the largest bucket runs in pieces."""
        batch = check_feed(self.inputs, feed)
        results = {name: np.empty((batch, *_sizes(spec)), spec.dtype) for name, spec in self.outputs.items()}
        with self._lock:
            self._check_open()
            try:
                for begin in range(0, batch, self.buckets[-1]):
                    piece = slice(begin, begin + self.buckets[-1])
                    self._run({name: array[piece] for name, array in feed.items()}, results, piece)
            except DeviceError as error:
                raise EngineError(f"the card failed: {error}. Load the engine again") from error
        return results

    def _run(self, feed: Mapping[str, Array], results: Mapping[str, Array], piece: slice) -> None:
        device = self._card.device
        bucket = self.bucket_for(len(next(iter(feed.values()))))
        addresses = self._buffers()
        for name, array in feed.items():
            device.to_device(addresses[name], array)
        self._launch(bucket)
        for name, array in results.items():
            device.to_host(array[piece], addresses[name])
        device.synchronise()

    def _launch(self, bucket: int) -> None:
        """Queue the network on the own buffers, by its graph where there is one."""
        stream = self._card.device.stream
        if bucket in self._graphs:
            self._graphs[bucket].launch(stream)
            return
        self._enqueue(bucket, self._addresses, stream)
        if self._card.recorder is not None:
            # The first run allocates and chooses, which cannot be recorded; the second is.
            self._graphs[bucket] = self._card.recorder.capture(
                stream, lambda: self._enqueue(bucket, self._addresses, stream)
            )

    def _buffers(self) -> dict[str, int]:
        """Addresses of the own inputs and outputs, of the largest bucket's size."""
        for spec in itertools.chain(self.inputs.values(), self.outputs.values()):
            if spec.name not in self._addresses:
                one = int(np.prod(_sizes(spec))) * np.dtype(spec.dtype).itemsize
                self._addresses[spec.name] = self._allocate(self.buckets[-1] * one)
        return self._addresses

    @property
    def recorded(self) -> tuple[int, ...]:
        """Buckets that run as a CUDA graph."""
        return tuple(sorted(self._graphs))

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(DeviceError):
                # A card that is lost finishes nothing.
                self._card.device.synchronise()
            for graph in self._graphs.values():
                graph.close()
            self._graphs.clear()
            self._kept.save()
            # Contexts before their engine, the engine before its runtime, memory last.
            self._contexts.clear()
            self._config = self._engine = self._trt_runtime = None
            for address in (*self._addresses.values(), *([] if self._scratch is None else [self._scratch])):
                self._card.device.free(address)
            self._addresses.clear()
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


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """A shape without its batch."""
    return tuple(size for size in spec.shape[1:] if size is not None)
