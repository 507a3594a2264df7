"""An engine on a card as any other engine: NumPy arrays in, NumPy arrays out."""

import threading
from collections.abc import Mapping

import numpy as np

from kernels.cuda.device import Device, DeviceError, DeviceMemoryFull
from models.device_engine import DeviceEngine
from models.engine import Array, DeviceMemoryError, EngineError, TensorSpec, check_feed


class CardEngine:
    """See `Engine`. What goes in and out is float32, whatever the network takes on the card.

    Whoever has kernels before and behind the network uses `network` and `device` instead.

    Args:
        network: What runs.
        device: Where.
        keeps_device: The device is its caller's, and stays open when the engine is closed.
    """

    def __init__(self, network: DeviceEngine, device: Device, *, keeps_device: bool = False) -> None:
        self.network = network
        self._keeps_device = keeps_device
        self.device = device
        self.inputs: Mapping[str, TensorSpec] = _in_floats(network.inputs)
        self.outputs: Mapping[str, TensorSpec] = _in_floats(network.outputs)
        self._rooms: dict[str, int] = {}
        self._room_for = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def backend(self) -> str:
        """See `Engine`."""
        return self.network.backend

    @property
    def precision(self) -> str:
        """See `Engine`."""
        return self.network.precision

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.infer`; more pictures than go together go in turns."""
        batch = check_feed(self.inputs, feed)
        most = self.network.buckets[-1]
        with self._lock:
            if self._closed:
                raise EngineError("the engine was closed; load it again")
            with on_card():
                parts = [
                    self._run({name: array[first : first + most] for name, array in feed.items()})
                    for first in range(0, batch, most)
                ]
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in self.outputs}

    def warm_up(self) -> None:
        """Run every bucket once: what has to be allocated or compiled is then there, or an error is.

        Raises:
            EngineError: The card has no room, or refuses.
        """
        # The largest first, so that room is made once.
        for bucket in reversed(self.network.buckets):
            self.infer({name: np.zeros((bucket, *_sizes(spec)), spec.dtype) for name, spec in self.inputs.items()})

    def _run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        batch = len(next(iter(feed.values())))
        # What a bucket holds beyond the batch is of no use to anybody.
        bucket = next(each for each in self.network.buckets if each >= batch)
        self._make_room(bucket)
        # Held until the card has read them.
        shown = [(name, np.ascontiguousarray(array, self.network.inputs[name].dtype)) for name, array in feed.items()]
        for name, array in shown:
            self.device.to_device(self._rooms[name], array)
        self.network.enqueue(bucket, self._rooms, self.device.stream)
        made = {name: np.empty((batch, *_sizes(spec)), spec.dtype) for name, spec in self.network.outputs.items()}
        for name, result in made.items():
            self.device.to_host(result, self._rooms[name])
        self.device.synchronise()
        return made

    def _make_room(self, batch: int) -> None:
        if batch <= self._room_for:
            return
        self._free()
        for name, spec in {**self.network.inputs, **self.network.outputs}.items():
            self._rooms[name] = self.device.allocate(batch * picture_bytes(spec))
        self._room_for = batch

    def _free(self) -> None:
        for address in self._rooms.values():
            self.device.free(address)
        self._rooms, self._room_for = {}, 0

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.network.close()
                if self._keeps_device:
                    self._free()
                else:
                    self.device.close()


class on_card:  # noqa: N801 - a context manager, read as a phrase
    """What a card says as an engine's error: no room left is told from a failure."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say it as an engine's error."""
        if isinstance(error, DeviceMemoryFull):
            raise DeviceMemoryError(str(error)) from error
        if isinstance(error, DeviceError):
            raise EngineError(str(error)) from error


def picture_bytes(spec: TensorSpec) -> int:
    """What one of a batch takes."""
    return int(np.prod(_sizes(spec))) * np.dtype(spec.dtype).itemsize


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """A shape without its batch."""
    return tuple(size or 1 for size in spec.shape[1:])


def _in_floats(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, spec.shape) for name, spec in specs.items()}
