"""What every engine looks like from outside, whatever runtime stands behind it.

An engine is a value that says which back end and precision really run. It takes and gives NumPy
arrays by name and refuses what does not fit instead of converting it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class EngineError(Exception):
    """An engine cannot be had or cannot run this input; the message ends with the remedy."""


class DeviceMemoryError(EngineError):
    """The device has no memory left for this input; the engine itself is sound and may be asked again later."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and type of one input or output.

    Attributes:
        shape: None stands for a size that the caller chooses (the batch).
        dtype: NumPy's name, such as "float32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    def fits(self, array: Array) -> bool:
        """Whether the array has this type and shape."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(want is None or want == got for want, got in zip(self.shape, array.shape, strict=True))
        )

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('N' if size is None else str(size) for size in self.shape)}]"


class Engine(Protocol):
    """One network, loaded and ready. Safe to call from one thread at a time."""

    @property
    def backend(self) -> str:
        """The back end that runs: "openvino", "torch" or "tensorrt"."""

    @property
    def precision(self) -> str:
        """The precision that runs: "fp32", "bf16" or "int8"; on a card "fp16", "int8" or "fp8"."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What `infer` takes."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What `infer` gives."""

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network.

        Args:
            feed: One C-contiguous array for every input. The first axis is the batch. A writable array is read
                where it lies; a read-only one is copied, because no runtime takes it otherwise.

        Returns:
            One new array for every output, the caller's to keep.

        Raises:
            EngineError: A name, shape, type or memory layout does not fit, or the engine is closed.
        """

    def close(self) -> None:
        """Give the memory back; calling it twice is harmless."""


def check_feed(inputs: Mapping[str, TensorSpec], feed: Mapping[str, Array]) -> int:
    """Hold a feed against the inputs of an engine.

    Returns:
        The size of the batch, at least 1.

    Raises:
        EngineError: A name is missing or unknown, a shape, type or layout does not fit, or the batches differ.
    """
    if feed.keys() != inputs.keys():
        raise EngineError(f"the engine takes {sorted(inputs)}, found {sorted(feed)}; give exactly these")
    for name, spec in inputs.items():
        _check_array(spec, feed[name])
    batches = {name: len(array) for name, array in feed.items()}
    if len(set(batches.values())) != 1 or 0 in batches.values():
        raise EngineError(f"all inputs need the same batch of at least 1, found {batches}")
    return next(iter(batches.values()))


def _check_array(spec: TensorSpec, array: Array) -> None:
    if not isinstance(array, np.ndarray):
        raise EngineError(f"input {spec.name!r} is a {type(array).__name__}, expected a NumPy array {spec}")
    if not spec.fits(array):
        raise EngineError(f"input {spec.name!r} is {array.dtype} {list(array.shape)}, expected {spec}")
    if not array.flags.c_contiguous:
        raise EngineError(
            f"input {spec.name!r} is not C-contiguous and would have to be copied; pass np.ascontiguousarray(...)"
        )
