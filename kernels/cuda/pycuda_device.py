"""A card through pycuda, on the primary context, so that torch, TensorRT and PyAV share its memory.

pycuda has no calls for CUDA graphs; those are made through `cuda.bindings`, on the same stream.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.cuda.device import Argument, Array, DeviceError, DeviceMemoryFull, Graph, Size3
from kernels.cuda.fatbin import load_fatbin

# CUDA 13 made the kernels: an older driver does not load them.
_OLDEST_DRIVER = 13000
_LIBRARY = "libcuda.so.1"
_NON_BLOCKING = 1
_INSTALL = "Install it: pip install 'visavis[cuda]'"

# pycuda and cuda.bindings are not typed.
Module = Any
Function = Any
Current = Callable[[], contextlib.AbstractContextManager[None]]


class PyCudaDevice:
    """See `Device`.

    Args:
        index: The card's number, by CUDA's order.

    Raises:
        DeviceError: Something is missing; the message ends with the remedy.
    """

    def __init__(self, index: int = 0) -> None:
        self._driver, self._graphs = _import_driver(), _import_bindings()
        binary = load_fatbin()
        card = self._open_card(index)
        self.name = str(card.name())
        major, minor = card.compute_capability()
        self.capability = (int(major), int(minor))
        self._context: Any = card.retain_primary_context()
        self._functions: dict[str, tuple[Function, str]] = {}
        self._allocations: dict[int, Any] = {}
        self.index = index
        self._failed = False
        self._module = self._call(lambda: self._driver.module_from_buffer(binary))
        self._stream = self._call(lambda: self._driver.Stream(_NON_BLOCKING))
        self.stream = int(self._stream.handle)

    def _open_card(self, index: int) -> Any:  # noqa: ANN401 - pycuda is not typed
        try:
            self._driver.init()
        except (self._driver.Error, RuntimeError) as error:
            raise DeviceError(
                f"CUDA does not start ({error}). Check the card and its driver: nvidia-smi; or take the CPU's engine: "
                "--backend openvino"
            ) from None
        if (version := self._driver.get_driver_version()) < _OLDEST_DRIVER:
            raise DeviceError(
                f"the NVIDIA driver knows CUDA {version // 1000}.{version % 1000 // 10}, the kernels need 13.0. "
                "Update the driver to 580 or newer"
            )
        if (count := self._driver.Device.count()) <= index:
            raise DeviceError(f"there is no card {index}: {count} found. Choose another, from 0 on, or see nvidia-smi")
        return self._driver.Device(index)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """See `Device`; whatever thread this is.

        pycuda aborts the process when a thread ends that has left a context on its stack.
        """
        if self._context is None:
            raise DeviceError("the device was closed; open it again")
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def _call(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - pycuda is not typed
        try:
            with self.current():
                return work()
        except self._driver.MemoryError as error:
            raise DeviceMemoryFull(
                f"{self.name} has no room left ({error}). End another session or process, or lower sessions_at_most"
            ) from error
        except self._driver.Error as error:
            self._failed = True
            raise DeviceError(f"{self.name} failed: {error}. Check it: nvidia-smi, make gpu-check") from error

    def allocate(self, size: int) -> int:
        """See `Device`."""
        allocation = self._call(lambda: self._driver.mem_alloc(max(size, 1)))
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See `Device`."""
        allocation = self._allocations.pop(address)
        # What a failed context held goes with it.
        if not self._failed:
            self._call(allocation.free)

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Device`."""
        array: NDArray[Any] = self._call(lambda: self._driver.pagelocked_empty(shape, np.dtype(dtype)))
        return array

    def to_device(self, address: int, array: Array) -> None:
        """See `Device`."""
        self._call(lambda: self._driver.memcpy_htod_async(address, array, self._stream))

    def to_device_rows(self, address: int, stride: int, rows: NDArray[np.uint8]) -> None:
        """See `Device`."""
        copy = self._driver.Memcpy2D()
        copy.set_src_host(rows)
        copy.set_dst_device(address)
        copy.height, copy.width_in_bytes = rows.shape
        copy.src_pitch, copy.dst_pitch = rows.shape[1], stride
        self._call(lambda: copy(self._stream))

    def to_host(self, array: Array, address: int) -> None:
        """See `Device`."""
        self._call(lambda: self._driver.memcpy_dtoh_async(array, address, self._stream))

    def launch(self, kernel: str, grid: Size3, block: Size3, *arguments: Argument) -> None:
        """See `Device`."""
        # ctypes names its types by the letters of the module struct, which pycuda prepares a call by.
        function, letters = self._functions.get(kernel) or self._prepared(kernel, arguments)
        if len(letters) != len(arguments):
            raise DeviceError(f"{kernel} takes {len(letters)} arguments, found {len(arguments)}")
        values = (argument.value or 0 for argument in arguments)
        self._call(lambda: function.prepared_async_call(grid, block, self._stream, *values))

    def _prepared(self, kernel: str, arguments: tuple[Argument, ...]) -> tuple[Function, str]:
        letters = "".join(each._type_ for each in arguments)
        try:
            with self.current():
                function = self._module.get_function(kernel)
                function.prepare(letters)
        except self._driver.LogicError as error:
            raise DeviceError(f"there is no kernel {kernel} ({error}). Make them again: make kernels") from None
        self._functions[kernel] = function, letters
        return function, letters

    def capture(self, work: Callable[[], None]) -> Graph:
        """See `Device`."""
        graphs = self._graphs
        mode = graphs.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self.current():
            _checked(graphs, graphs.cuStreamBeginCapture(self.stream, mode))
            with contextlib.ExitStack() as after_a_failure:
                after_a_failure.callback(self._abandon_capture)
                work()
                after_a_failure.pop_all()
            (recorded,) = _checked(graphs, graphs.cuStreamEndCapture(self.stream))
            (launchable,) = _checked(graphs, graphs.cuGraphInstantiate(recorded, 0))
            _checked(graphs, graphs.cuGraphDestroy(recorded))
        return _CudaGraph(graphs, launchable, self.stream, self.current)

    def _abandon_capture(self) -> None:
        """End a capture that is of no use: a stream that stays in one takes no work."""
        _, recorded = self._graphs.cuStreamEndCapture(self.stream)
        if recorded is not None:
            self._graphs.cuGraphDestroy(recorded)

    def synchronise(self) -> None:
        """See `Device`."""
        self._call(self._stream.synchronize)

    def timed(self, work: Callable[[], None]) -> float:
        """See `Device`."""
        return float(self._call(lambda: self._between(work)))

    def _between(self, work: Callable[[], None]) -> float:
        # Events that come and go while their context is current: elsewhere pycuda leaks them.
        first, last = self._driver.Event(), self._driver.Event()
        first.record(self._stream)
        work()
        last.record(self._stream)
        last.synchronize()
        return float(first.time_till(last))

    def memory(self) -> tuple[int, int]:
        """See `Device`."""
        free, total = self._call(self._driver.mem_get_info)
        return int(free), int(total)

    def close(self) -> None:
        """See `Device`."""
        if self._context is None:
            return
        context, self._context = self._context, None
        context.push()
        if self._failed:
            # After some errors a context refuses everything, and a new one may be had only when it is gone.
            self._graphs.cuDevicePrimaryCtxReset(self.index)
        else:
            for allocation in self._allocations.values():
                allocation.free()
        self._allocations.clear()
        self._functions.clear()
        self._module = self._stream = None
        # Releases it and takes it off pycuda's stack, not off the driver's.
        context.detach()
        self._graphs.cuCtxPopCurrent()


class _CudaGraph:
    """A recorded graph, ready to launch."""

    def __init__(self, graphs: Module, launchable: Any, stream: int, current: Current) -> None:  # noqa: ANN401
        self._graphs = graphs
        self._launchable = launchable
        self._stream = stream
        self._current = current

    def launch(self) -> None:
        """See `Graph`."""
        with self._current():
            _checked(self._graphs, self._graphs.cuGraphLaunch(self._launchable, self._stream))

    def close(self) -> None:
        """See `Graph`."""
        if self._launchable is not None:
            with self._current():
                self._graphs.cuGraphExecDestroy(self._launchable)
            self._launchable = None


def _checked(graphs: Module, answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call gave behind its status."""
    status, *results = answer
    if status == graphs.CUresult.CUDA_SUCCESS:
        return tuple(results)
    if status == graphs.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise DeviceMemoryFull("the card has no room left for a graph. End another session or process")
    raise DeviceError(f"CUDA graphs failed: {status}. Check the card: nvidia-smi, make gpu-check")


def _import_driver() -> Module:
    try:
        # First, as without it no package helps.
        ctypes.CDLL(_LIBRARY)
    except OSError:
        raise DeviceError(
            f"there is no NVIDIA driver on this machine ({_LIBRARY} cannot be loaded). Install 580 or newer, or take "
            "the CPU's engine: --backend openvino"
        ) from None
    try:
        from pycuda import driver
    except ImportError as error:
        raise DeviceError(f"pycuda is not installed ({error}). {_INSTALL}") from None
    return driver


def _import_bindings() -> Module:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise DeviceError(f"cuda.bindings is not installed ({error}). {_INSTALL}") from None
    return driver
