"""A card whose memory is this process's and whose kernels are the CUDA sources compiled by g++.

It stands in for pycuda's and cuda.bindings' modules under the real `PyCudaDevice`, and is stricter than a card: nothing
that is enqueued happens before somebody waits for it, host arrays are read only then, room is poisoned when it is given
out, and what is written beside it is found.
"""

import ctypes
import enum
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.cuda import pycuda_device
from kernels.cuda.fatbin import kernel_names, sources
from kernels.cuda.pycuda_device import PyCudaDevice
from tests.kernels.cuda import host

# As half or float it is a number far from any picture, as an address it is none.
_POISON = 0xCB
_GUARD = 64
_LETTERS = {"P": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}


class FakeError(Exception):
    pass


class FakeLogicError(FakeError):
    pass


class FakeMemoryError(FakeError):
    pass


class FakeCard:
    """What pycuda.driver and cuda.bindings.driver are asked for.

    Args:
        room: Bytes of memory.
        driver_version: As the driver says it: 13000 for CUDA 13.0.
        cards: How many there are.

    Attributes:
        launches: Names of the kernels that ran.
        graph_launches: How many graphs were launched.
        resets: How often the context was thrown away.
        sticky: An error that every wait raises from now on, as after an illegal address.
        up: Bytes that were copied to it.
        down: Bytes that were copied from it.
    """

    def __init__(self, room: int = 1 << 30, *, driver_version: int = 13000, cards: int = 1) -> None:
        self.room = room
        self.launches: list[str] = []
        self.graph_launches = 0
        self.resets = 0
        self.up = self.down = 0
        self.sticky: FakeError | None = None
        self.buffers: dict[int, tuple[ctypes.Array[ctypes.c_ubyte], int]] = {}
        self.contexts = threading.local()
        self._pending: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self._version = driver_version
        self._cards = cards
        self._stems = {name: source.stem for source in sources() for name in kernel_names(source)}
        self.driver = types.SimpleNamespace(
            Error=FakeError,
            LogicError=FakeLogicError,
            MemoryError=FakeMemoryError,
            init=lambda: None,
            get_driver_version=lambda: self._version,
            Context=types.SimpleNamespace(pop=self._pop),
            Device=self._device_type(),
            module_from_buffer=self._in_context(self._module),
            Stream=self._in_context(lambda _flags: types.SimpleNamespace(handle=77, synchronize=self.run_pending)),
            mem_alloc=self._in_context(self._mem_alloc),
            pagelocked_empty=self._in_context(np.empty),
            memcpy_htod_async=self._in_context(lambda address, array, _: self.enqueue_write(address, array)),
            memcpy_dtoh_async=self._in_context(
                lambda array, address, _: self.enqueue(lambda: self._read(array, address))
            ),
            Memcpy2D=lambda: _RowsUp(self),
            Event=self._in_context(lambda: _Event(self)),
            mem_get_info=self._in_context(lambda: (self.room - self.used, self.room)),
        )
        self.bindings = types.SimpleNamespace(
            CUresult=_Result,
            CUstreamCaptureMode=types.SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1),
            cuStreamBeginCapture=self._begin,
            cuStreamEndCapture=self._end,
            cuGraphInstantiate=lambda graph, _flags: (_Result.CUDA_SUCCESS, graph),
            cuGraphDestroy=lambda _graph: (_Result.CUDA_SUCCESS,),
            cuGraphExecDestroy=lambda _graph: (_Result.CUDA_SUCCESS,),
            cuGraphLaunch=self._launch_graph,
            cuDevicePrimaryCtxReset=self._reset,
            cuCtxPopCurrent=lambda: (_Result.CUDA_SUCCESS, None),
        )

    @property
    def used(self) -> int:
        """Bytes given out."""
        return sum(size for _, size in self.buffers.values())

    def open(self, monkeypatch: pytest.MonkeyPatch) -> PyCudaDevice:
        """The real device on this card."""
        monkeypatch.setattr(pycuda_device, "_import_driver", lambda: self.driver)
        monkeypatch.setattr(pycuda_device, "_import_bindings", lambda: self.bindings)
        return PyCudaDevice()

    # -- the context -------------------------------------------------------------------------------

    def _push(self) -> None:
        self.contexts.depth = self.depth + 1

    def _pop(self) -> None:
        assert self.depth > 0
        self.contexts.depth = self.depth - 1

    @property
    def depth(self) -> int:
        """Contexts on this thread's stack; where a thread ends with some, pycuda aborts the process."""
        return int(getattr(self.contexts, "depth", 0))

    def _in_context(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any) -> Any:
            assert self.depth > 0, "there is no current context on this thread"
            return call(*arguments)

        return checked

    # -- the driver --------------------------------------------------------------------------------

    def _device_type(self) -> Any:
        context = types.SimpleNamespace(push=self._push, detach=self._pop)

        class Device:
            count = staticmethod(lambda: self._cards)

            def __init__(self, index: int) -> None:
                assert index < self.count()

            name = staticmethod(lambda: "Fake card")
            compute_capability = staticmethod(lambda: (9, 0))
            retain_primary_context = staticmethod(lambda: context)

        return Device

    def _module(self, binary: bytes) -> Any:
        assert binary[:4] == b"\x50\xed\x55\xba"
        return types.SimpleNamespace(get_function=lambda name: _Function(self, name, self._stem(name)))

    def _stem(self, name: str) -> str:
        if name not in self._stems:
            raise FakeLogicError(f"cuModuleGetFunction failed: named symbol not found: {name}")
        return self._stems[name]

    def take(self, size: int) -> int:
        """Room that no device of ours has asked for, such as a decoder's; from any thread."""
        return int(self._mem_alloc(size))

    def _mem_alloc(self, size: int) -> "_Allocation":
        if self.used + size > self.room:
            raise FakeMemoryError("cuMemAlloc failed: out of memory")
        buffer = (ctypes.c_ubyte * (size + 2 * _GUARD))()
        ctypes.memset(buffer, _POISON, len(buffer))
        address = ctypes.addressof(buffer) + _GUARD
        self.buffers[address] = buffer, size
        return _Allocation(self, address)

    def free(self, address: int) -> None:
        buffer, size = self.buffers.pop(address)
        for edge in (bytes(buffer[:_GUARD]), bytes(buffer[_GUARD + size :])):
            assert edge == bytes([_POISON]) * _GUARD, "something was written beside its room"

    def _inside(self, address: int, size: int) -> None:
        # Decoders of other threads take room and give it back meanwhile.
        rooms = list(self.buffers.items())
        assert any(start <= address and address + size <= start + room for start, (_, room) in rooms), (
            "a copy from or to no room of the card's"
        )

    def _write(self, address: int, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        self._inside(address, array.nbytes)
        self.up += array.nbytes
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def _read(self, array: NDArray[Any], address: int) -> None:
        assert array.flags.c_contiguous
        self._inside(address, array.nbytes)
        self.down += array.nbytes
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def enqueue_write(self, address: int, array: NDArray[Any]) -> None:
        self.enqueue(lambda: self._write(address, array))

    def enqueue(self, work: Callable[[], None]) -> None:
        (self._pending if self._recording is None else self._recording).append(work)

    def run_pending(self) -> None:
        """Do what was enqueued, in its order."""
        assert self._recording is None, "waiting is not allowed while a graph is recorded"
        work, self._pending = self._pending, []
        if self.sticky is not None:
            raise self.sticky
        for each in work:
            each()

    def _reset(self, _index: int) -> tuple["_Result"]:
        self.resets += 1
        self.buffers.clear()
        self._pending.clear()
        self.sticky = None
        return (_Result.CUDA_SUCCESS,)

    # -- graphs ------------------------------------------------------------------------------------

    def _begin(self, stream: int, _mode: int) -> tuple["_Result"]:
        assert stream == 77
        self._recording = []
        return (_Result.CUDA_SUCCESS,)

    def _end(self, _stream: int) -> tuple["_Result", list[Callable[[], None]] | None]:
        recorded, self._recording = self._recording, None
        return _Result.CUDA_SUCCESS, recorded

    def _launch_graph(self, graph: list[Callable[[], None]], _stream: int) -> tuple["_Result"]:
        self.graph_launches += 1
        self._pending.extend(graph)
        return (_Result.CUDA_SUCCESS,)


class _Result(enum.Enum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2


class _RowsUp:
    """pycuda's `Memcpy2D` from the host to the card; what is not set is not copied."""

    height = width_in_bytes = src_pitch = dst_pitch = 0

    def __init__(self, card: FakeCard) -> None:
        self._card = card

    def set_src_host(self, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        self._array = array

    def set_dst_device(self, address: int) -> None:
        self._address = address

    def __call__(self, _stream: Any) -> None:
        assert self._card.depth > 0, "there is no current context on this thread"
        assert self.src_pitch >= self.width_in_bytes <= self.dst_pitch
        rows = self._array.reshape(-1).view(np.uint8)
        for index in range(self.height):
            row = rows[index * self.src_pitch :][: self.width_in_bytes]
            self._card.enqueue_write(self._address + index * self.dst_pitch, row)


class _Event:
    """Takes the host's time when what was enqueued before it is done."""

    def __init__(self, card: FakeCard) -> None:
        self._card = card
        self._ms = 0.0

    def record(self, _stream: Any) -> None:
        self._card.enqueue(self._note)

    def _note(self) -> None:
        self._ms = time.perf_counter() * 1e3

    def synchronize(self) -> None:
        self._card.run_pending()

    def time_till(self, later: "_Event") -> float:
        return later._ms - self._ms


class _Allocation:
    def __init__(self, card: FakeCard, address: int) -> None:
        self._card = card
        self._address = address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._card.free(self._address)


class _Function:
    def __init__(self, card: FakeCard, name: str, stem: str) -> None:
        self._card = card
        self._name = name
        self._stem = stem

    def prepare(self, letters: str) -> None:
        self._types = [_LETTERS[letter] for letter in letters]

    def prepared_async_call(self, grid: tuple, block: tuple, _stream: Any, *values: Any) -> None:
        assert all(side > 0 for side in grid)
        assert np.prod(block) <= 256
        arguments = [kind(value) for kind, value in zip(self._types, values, strict=True)]

        def run() -> None:
            self._card.launches.append(self._name)
            host.launch(self._stem, self._name, grid, block, *arguments)

        self._card.enqueue(run)
