"""An engine whose inputs and outputs lie in a card's memory, so that kernels before and behind it share them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from models.engine import TensorSpec


class DeviceEngine(Protocol):
    """One network, loaded onto a card. Safe to call from one thread at a time."""

    @property
    def backend(self) -> str:
        """The back end that runs, such as "torch-cuda"."""

    @property
    def precision(self) -> str:
        """The precision that runs: "fp16" or "fp32"."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What lies at the addresses of the inputs, "float16" or "float32"."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What will lie at the addresses of the outputs."""

    @property
    def buckets(self) -> Sequence[int]:
        """The batches that it runs, ascending; another is filled up to the next of them."""

    @property
    def capturable(self) -> bool:
        """Whether `enqueue` may be recorded into a graph of its caller's."""

    def enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        """Enqueue the network; nothing is waited for.

        Args:
            batch: One of `buckets`.
            addresses: Where each input and output lies, C-contiguous, all of the batch behind one another. The same
                addresses with the same batch should come again: what was made ready for them is kept.
            stream: Handle of the CUDA stream.

        Raises:
            EngineError: A name is missing or unknown, or the runtime refuses.
        """

    def close(self) -> None:
        """Give the memory back; calling it twice is harmless."""
