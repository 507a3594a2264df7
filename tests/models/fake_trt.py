"""A stand-in for TensorRT and for a card: memory by address, any network as a function, and a list of what was called.

The stand-in has only names that every version of TensorRT has; a test holds `FAKES` against the recorded lists.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import DeviceError, DeviceMemoryFull
from models.engine import TensorSpec
from models.tensorrt_runtime import Runtime

SIDE, BANDS, COLUMNS = 4, 3, 2
INPUTS = (TensorSpec("face", (None, 6, SIDE, SIDE)), TensorSpec("mel", (None, 1, BANDS, COLUMNS)))
OUTPUTS = (TensorSpec("picture", (None, 3, SIDE, SIDE)),)
SCRATCH_BYTES = 512


Network = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Faces and sounds to pictures."""


def drawn(face: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest network: the target, lighter by the mean of its own sound."""
    return np.asarray(face[:, 3:] + mel.mean((1, 2, 3))[:, None, None, None], np.float32)


class FakeDevice:
    """A card's memory as arrays of bytes, each at an address.

    Args:
        room: Bytes in all.
    """

    name = "Fake card"
    stream = 77

    def __init__(self, room: int = 1 << 20, capability: tuple[int, int] = (8, 6)) -> None:
        self.room = room
        self.capability = capability
        self.recording: FakeGraph | None = None
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.calls: list[str] = []
        self.lost = False
        self._next = 4096

    def allocate(self, size: int) -> int:
        self.calls.append(f"allocate {size}")
        if sum(map(len, self.memory.values())) + size > self.room:
            raise DeviceMemoryFull("out of memory")
        # What is in new memory is no number.
        self.memory[self._next] = np.full(size, 255, np.uint8)
        self._next += 4096 + size // 256 * 256
        return self._next - 4096 - size // 256 * 256

    def free(self, address: int) -> None:
        self.calls.append("free")
        del self.memory[address]

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        self.calls.append(f"to_device {array.shape}")
        self.memory[address][: array.nbytes] = array.reshape(-1).view(np.uint8)

    def to_host(self, array: NDArray[Any], address: int) -> None:
        assert array.flags.c_contiguous
        self.calls.append(f"to_host {array.shape}")
        array.reshape(-1).view(np.uint8)[:] = self.memory[address][: array.nbytes]

    def synchronise(self) -> None:
        self.calls.append("synchronise")
        if self.lost:
            raise DeviceError("the card is lost")

    def capture(self, work: Callable[[], None]) -> FakeGraph:
        before = len(self.memory)
        graph = self.recording = FakeGraph(self)
        work()
        self.recording = None
        assert len(self.memory) == before, "nothing may be allocated while work is recorded"
        return graph

    def close(self) -> None:
        self.calls.append("close")
        self.memory.clear()

    def read(self, address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """What a kernel sees at an address."""
        size = int(np.prod(shape)) * 4
        return self.memory[address][:size].view(np.float32).reshape(shape)


class FakeGraph:
    """What was queued while it was recorded; a launch does it again."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.kernels: list[Callable[[], None]] = []

    def launch(self) -> None:
        self.device.calls.append("launch")
        for kernel in self.kernels:
            kernel()

    def close(self) -> None: ...


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"


class ITensor:
    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.shape = tuple(-1 if size is None else size for size in spec.shape)


class INetworkDefinition:
    def __init__(self, trt: FakeTrt) -> None:
        self._trt = trt
        self._onnx = b""

    @property
    def num_inputs(self) -> int:
        return len(self._trt._inputs)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._trt._inputs[index])


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network, self._logger = network, logger

    num_errors = 0

    def get_error(self, index: int) -> None: ...

    def parse(self, onnx: bytes) -> bool:
        self._network._onnx = onnx
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self._shapes[name] = shapes


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content + b"measured"


class IBuilderConfig:
    builder_optimization_level = 3

    def __init__(self) -> None:
        self._cache: ITimingCache | None = None
        self._profiles: list[IOptimizationProfile] = []

    def set_memory_pool_limit(self, pool: object, size: int) -> None: ...

    def add_optimization_profile(self, profile: IOptimizationProfile) -> None:
        self._profiles.append(profile)

    def create_timing_cache(self, content: bytes) -> ITimingCache:
        return ITimingCache(content)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> None:
        assert not ignore_mismatch
        self._cache = cache

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class IRuntimeConfig:
    def set_execution_context_allocation_strategy(self, strategy: object) -> None:
        assert strategy == "USER_MANAGED"


class ICudaEngine:
    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, trt: FakeTrt, network: Network) -> None:
        self._trt, self._network = trt, network

    @property
    def num_io_tensors(self) -> int:
        return len(self._trt._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._trt._tensors[index].name

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in {spec.name for spec in INPUTS} else "OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return ITensor(self._spec(name)).shape

    def get_tensor_dtype(self, name: str) -> str:
        return {"float32": "FLOAT", "float16": "HALF"}[self._spec(name).dtype]

    def _spec(self, name: str) -> TensorSpec:
        return next(spec for spec in self._trt._tensors if spec.name == name)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(self, config: IRuntimeConfig) -> IExecutionContext | None:
        assert isinstance(config, IRuntimeConfig)
        if self._trt._no_context:
            self._trt._logger.log(ILogger.ERROR, "no memory for\n a context")
            return None
        return IExecutionContext(self._trt, self._network)


class IExecutionContext:
    def __init__(self, trt: FakeTrt, network: Network) -> None:
        self._trt, self._network = trt, network
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile: int | None = None
        self._scratch: int | None = None

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._trt._device.calls.append(f"profile {index}")
        self._profile = index
        return stream != 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None
        assert name not in self._shapes, "a context's shapes never change: recorded work stays good"
        self._shapes[name] = shape
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == SCRATCH_BYTES
        assert address in self._trt._device.memory
        self._scratch = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self._trt._device.stream
        assert self._scratch is not None
        if self._trt._refuses:
            self._trt._logger.log(ILogger.ERROR, "enqueue failed")
            return False
        batch = self._shapes["face"][0]
        addresses = dict(self._addresses)
        recording = self._trt._device.recording
        if recording is not None:
            recording.kernels.append(lambda: self._kernel(batch, addresses))
        else:
            self._trt._device.calls.append(f"execute {batch} in profile {self._profile}")
            self._kernel(batch, addresses)
        return True

    def _kernel(self, batch: int, addresses: dict[str, int]) -> None:
        read = {
            spec.name: self._trt._device.read(addresses[spec.name], (batch, *ITensor(spec).shape[1:]))
            for spec in self._trt._tensors
        }
        read["picture"][:] = self._network(read["face"], read["mel"])


class FakeTrt(SimpleNamespace):
    """The module, and what it stands on.

    Args:
        device: Memory.
        inputs: Of every network.
        outputs: Of every network.
        networks: From a plan, which is the ONNX that it was built from, to a network; None where it is damaged.
    """

    def __init__(
        self,
        device: FakeDevice,
        *,
        inputs: tuple[TensorSpec, ...] = INPUTS,
        outputs: tuple[TensorSpec, ...] = OUTPUTS,
        networks: Callable[[bytes], Network | None] = lambda plan: drawn if plan == b"whole" else None,
    ) -> None:
        super().__init__(__version__="11.4.0.106", ILogger=ILogger, OnnxParser=OnnxParser)
        self._device = device
        self._inputs, self._tensors = inputs, (*inputs, *outputs)
        self._no_context = self._refuses = self._builds_nothing = False
        self._logger: Any = None
        self._configs: list[IBuilderConfig] = []
        self.TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
        self.DataType = SimpleNamespace(FLOAT="FLOAT", HALF="HALF")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        trt = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                trt._logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
                network = networks(plan)
                if network is not None:
                    return ICudaEngine(trt, network)
                trt._logger.log(ILogger.WARNING, "a warning")
                trt._logger.log(ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
                return None

        class Builder:
            def __init__(self, logger: Any) -> None:
                trt._logger = logger

            def create_network(self, flags: int) -> INetworkDefinition:
                assert flags == 2, "strongly typed, and nothing else"
                return INetworkDefinition(trt)

            def create_builder_config(self) -> IBuilderConfig:
                trt._configs.append(IBuilderConfig())
                return trt._configs[-1]

            def create_optimization_profile(self) -> IOptimizationProfile:
                return IOptimizationProfile()

            def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
                if trt._builds_nothing:
                    trt._logger.log(ILogger.INTERNAL_ERROR, "Could not find any implementation for node conv")
                    return None
                assert config._profiles
                return network._onnx

        self.Runtime, self.Builder = Runtime, Builder


_KINDS = (
    ILogger,
    ITensor,
    INetworkDefinition,
    OnnxParser,
    IOptimizationProfile,
    ITimingCache,
    IBuilderConfig,
    IRuntimeConfig,
    ICudaEngine,
    IExecutionContext,
)
_ANY = FakeTrt(FakeDevice())
FAKES: dict[str, type] = {**{kind.__name__: kind for kind in _KINDS}, "Runtime": _ANY.Runtime, "Builder": _ANY.Builder}
"""Stand-ins by the name of what they stand for."""


def fake_runtime(trt: FakeTrt, version: str = "11.4.0.106") -> Runtime:
    return Runtime(trt, "tensorrt", version)


def whole_plan(folder: Path) -> Path:
    """A file that the stand-in loads."""
    path = folder / "net-fp16.plan"
    path.write_bytes(b"whole")
    return path
