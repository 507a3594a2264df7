"""What a card is to the code around the kernels: memory by address, copies and launches in the order of one stream.

`open_device` gives the real one. Whatever works on a `Device` runs in the tests on the host, where the same sources are
compiled by g++.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.generic]
Size3 = tuple[int, int, int]
Argument = Any
"""A `ctypes.c_void_p`, `c_int` or `c_float`: ctypes has no public name for what they have in common."""


class DeviceError(Exception):
    """The card cannot be had or has failed; the message ends with the remedy."""


class DeviceMemoryFull(DeviceError):  # noqa: N818 - what happened, not a fault of ours
    """The card has no room left for this."""


class Graph(Protocol):
    """Work that was recorded and is launched as one."""

    def launch(self) -> None:
        """Enqueue all of it on the device's stream."""

    def close(self) -> None:
        """Give it back."""


class Launches(Protocol):
    """What enqueues kernels."""

    def launch(self, kernel: str, grid: Size3, block: Size3, *arguments: Argument) -> None:
        """Enqueue a kernel.

        Raises:
            DeviceError: There is no such kernel, or the card refuses.
        """


class Device(Launches, Protocol):
    """One card and one stream on it. Its methods may be called from one thread at a time, `current` from any.

    Attributes:
        index: Its number, by CUDA's order.
        name: The card's own.
        capability: Compute capability, (9, 0) for an H100.
        stream: Handle of the stream that everything is enqueued on.
    """

    index: int
    name: str
    capability: tuple[int, int]
    stream: int

    def allocate(self, size: int) -> int:
        """Room for `size` bytes; its address.

        Raises:
            DeviceMemoryFull: There is not that much left.
        """

    def free(self, address: int) -> None:
        """Give room back that `allocate` gave."""

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A new array in host memory from and to which copies do not wait."""

    def to_device(self, address: int, array: Array) -> None:
        """Enqueue a copy of a C-contiguous array, which must stay as it is until the copy is done."""

    def to_device_rows(self, address: int, stride: int, rows: NDArray[np.uint8]) -> None:
        """Enqueue a copy of uint8 [H, W], C-contiguous, into rows that begin `stride` bytes apart; see `to_device`."""

    def to_host(self, array: Array, address: int) -> None:
        """Enqueue a copy into a C-contiguous array; it is there after `synchronise`."""

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` enqueues instead of running it."""

    def synchronise(self) -> None:
        """Wait until all that was enqueued is done.

        Raises:
            DeviceError: Something of it failed; the device is of no use after that.
        """

    def timed(self, work: Callable[[], None]) -> float:
        """Milliseconds that the card is busy with what `work` enqueues, by its own clock; waits for it."""

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""

    def current(self) -> AbstractContextManager[None]:
        """Make its context the calling thread's for a while, for libraries that take the current one.

        Raises:
            DeviceError: The device was closed.
        """

    def close(self) -> None:
        """Give the card back; calling it twice is harmless."""


def open_device(index: int = 0) -> Device:
    """The card of that number, in the primary context, which torch and TensorRT share.

    Raises:
        DeviceError: Something is missing: pycuda, the driver, a card, or the compiled kernels.
    """
    from kernels.cuda.pycuda_device import PyCudaDevice

    return PyCudaDevice(index)
