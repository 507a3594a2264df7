"""A stand-in for TensorRT and for a card: memory by address, a network of one line, and a list of what was called.

The stand-in has only names that every version of TensorRT has; a test holds `FAKES` against the recorded lists.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.device import DeviceError
from models.engine import TensorSpec
from models.tensorrt_runtime import Runtime

SIDE, BANDS, COLUMNS = 4, 3, 2
INPUTS = (TensorSpec("face", (None, 6, SIDE, SIDE)), TensorSpec("mel", (None, 1, BANDS, COLUMNS)))
OUTPUTS = (TensorSpec("picture", (None, 3, SIDE, SIDE)),)
SCRATCH_BYTES = 512


def drawn(face: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network: the target, lighter by the mean of its own sound."""
    return np.asarray(face[:, 3:] + mel.mean((1, 2, 3))[:, None, None, None], np.float32)


class FakeDevice:
    """A card's memory as arrays of bytes, each at an address.

    Args:
        room: Bytes in all.
    """

    stream = 77

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.calls: list[str] = []
        self.lost = False
        self._next = 4096

    def allocate(self, size: int) -> int:
        self.calls.append(f"allocate {size}")
        if sum(map(len, self.memory.values())) + size > self.room:
            raise DeviceError("out of memory")
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

    def read(self, address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """What a kernel sees at an address."""
        size = int(np.prod(shape)) * 4
        return self.memory[address][:size].view(np.float32).reshape(shape)


class FakeRecorder:
    """Records what is queued as graphs; a launch does it again."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.graphs: list[FakeGraph] = []
        self.recording: FakeGraph | None = None

    def capture(self, stream: int, work: Callable[[], None]) -> FakeGraph:
        assert stream == self.device.stream
        before = len(self.device.memory)
        self.recording = FakeGraph(self.device)
        work()
        assert len(self.device.memory) == before, "nothing may be allocated while work is recorded"
        self.graphs.append(self.recording)
        graph, self.recording = self.recording, None
        return graph


class FakeGraph:
    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.kernels: list[Callable[[], None]] = []
        self.open = True

    def launch(self, stream: int) -> None:
        assert self.open
        assert stream == self.device.stream
        self.device.calls.append("launch")
        for kernel in self.kernels:
            kernel()

    def close(self) -> None:
        self.open = False


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"


class IRuntimeConfig:
    def set_execution_context_allocation_strategy(self, strategy: object) -> None:
        assert strategy == "USER_MANAGED"


class ICudaEngine:
    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, trt: FakeTrt) -> None:
        self._trt = trt

    @property
    def num_io_tensors(self) -> int:
        return len(self._trt._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._trt._tensors[index].name

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in {spec.name for spec in INPUTS} else "OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if size is None else size for size in self._spec(name).shape)

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
        return IExecutionContext(self._trt)


class IExecutionContext:
    def __init__(self, trt: FakeTrt) -> None:
        self._trt = trt
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
        recording = self._trt._recorder.recording
        if recording is not None:
            recording.kernels.append(lambda: self._kernel(batch, addresses))
        else:
            self._trt._device.calls.append(f"execute {batch} in profile {self._profile}")
            self._kernel(batch, addresses)
        return True

    def _kernel(self, batch: int, addresses: dict[str, int]) -> None:
        device = self._trt._device
        face, mel = (device.read(addresses[spec.name], (batch, *spec.shape[1:])) for spec in INPUTS)  # type: ignore[arg-type]
        device.read(addresses["picture"], (batch, 3, SIDE, SIDE))[:] = drawn(face, mel)


class FakeTrt(SimpleNamespace):
    """The module, and what it stands on."""

    def __init__(self, device: FakeDevice, tensors: tuple[TensorSpec, ...] = (*INPUTS, *OUTPUTS)) -> None:
        super().__init__(ILogger=ILogger)
        self._device = device
        self._recorder = FakeRecorder(device)
        self._tensors = tensors
        self._no_context = self._refuses = False
        self._logger: Any = None
        self.TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
        self.DataType = SimpleNamespace(FLOAT="FLOAT", HALF="HALF")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")
        trt = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                trt._logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
                if plan == b"whole":
                    return ICudaEngine(trt)
                trt._logger.log(ILogger.WARNING, "a warning")
                trt._logger.log(ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
                return None

        self.Runtime = Runtime


FAKES: dict[str, type] = {
    "ILogger": ILogger,
    "IRuntimeConfig": IRuntimeConfig,
    "ICudaEngine": ICudaEngine,
    "IExecutionContext": IExecutionContext,
    "Runtime": FakeTrt(FakeDevice()).Runtime,
}
"""Stand-ins by the name of what they stand for."""


def fake_runtime(trt: FakeTrt, version: str = "11.4.0.106") -> Runtime:
    return Runtime(trt, "tensorrt", version)


def whole_plan(folder: Path) -> Path:
    """A file that the stand-in loads."""
    path = folder / "net-fp16.plan"
    path.write_bytes(b"whole")
    return path
