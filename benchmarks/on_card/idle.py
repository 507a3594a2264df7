"""A card that computes nothing: what is left of a tick is the work of this machine's processor.

Copies to it and from it are done, by this process and while somebody waits, so that host memory is read and written as
a card would; kernels and networks only are no work.
"""

import contextlib
import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.cuda.device import Argument, Array, Size3
from models.engine import TensorSpec
from models.manifest import EngineManifest


class IdleCard:
    """See `Device`."""

    index = 0
    name = "no card"
    capability = (0, 0)
    stream = 0

    def __init__(self) -> None:
        self._rooms: dict[int, NDArray[np.uint8]] = {}
        self._enqueued: list[tuple[int, int, int]] = []

    def allocate(self, size: int) -> int:
        """See `Device`."""
        room = np.empty(size, np.uint8)
        self._rooms[room.ctypes.data] = room
        return room.ctypes.data

    def free(self, address: int) -> None:
        """See `Device`."""
        del self._rooms[address]

    def pinned(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Device`."""
        return np.empty(shape, dtype)

    def to_device(self, address: int, array: Array) -> None:
        """See `Device`."""
        self._enqueued.append((address, array.ctypes.data, array.nbytes))

    def to_device_rows(self, address: int, stride: int, rows: NDArray[np.uint8]) -> None:
        """See `Device`."""
        for index, row in enumerate(rows):
            self.to_device(address + index * stride, row)

    def to_host(self, array: Array, address: int) -> None:
        """See `Device`."""
        self._enqueued.append((array.ctypes.data, address, array.nbytes))

    def launch(self, kernel: str, grid: Size3, block: Size3, *arguments: Argument) -> None:
        """Nothing is done."""

    def capture(self, work: Callable[[], None]) -> "IdleGraph":  # noqa: ARG002 - a device's arguments, by name
        """See `Device`."""
        return IdleGraph()

    def synchronise(self) -> None:
        """See `Device`."""
        for into, source, size in self._enqueued:
            ctypes.memmove(into, source, size)
        self._enqueued.clear()

    def timed(self, work: Callable[[], None]) -> float:
        """See `Device`; an idle card takes no time."""
        work()
        self.synchronise()
        return 0.0

    def current(self) -> contextlib.AbstractContextManager[None]:
        """See `Device`."""
        return contextlib.nullcontext()

    def memory(self) -> tuple[int, int]:
        """See `Device`; it takes what the machine has."""
        return 0, 0

    def close(self) -> None:
        """See `Device`."""
        self._rooms.clear()


class IdleGraph:
    """See `Graph`."""

    def launch(self) -> None:
        """Nothing is done."""

    def close(self) -> None:
        """Nothing is held."""


class IdleNetwork:
    """See `DeviceEngine`: takes and gives what a shipped generator in half precision does."""

    backend = "idle"
    precision = "fp16"
    buckets = (1, 2, 4, 8, 16, 32, 64)
    capturable = True

    def __init__(self, manifest: EngineManifest) -> None:
        size, columns = manifest.crop.size_px, manifest.mel.columns
        self.inputs = {
            "face": TensorSpec("face", (None, 6, size, size), "float16"),
            "mel": TensorSpec("mel", (None, 1, 80, columns)),
        }
        self.outputs = {"picture": TensorSpec("picture", (None, 3, size, size), "float16")}

    def enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        """Nothing is done."""

    def close(self) -> None:
        """Nothing is held."""
