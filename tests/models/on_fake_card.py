"""A generator on the stand-in of a card: enqueued, it runs when somebody waits, on memory that is the host's."""

from collections.abc import Mapping

from models.torch_cuda_engine import TorchCudaEngine
from tests.kernels.cuda.fake_card import FakeCard


class NetworkOnFakeCard:
    """See `DeviceEngine`; `batches` are those that were asked for."""

    def __init__(
        self, card: FakeCard, network: TorchCudaEngine, buckets: tuple[int, ...] = (1, 2, 4), *, capturable: bool = True
    ) -> None:
        self._card = card
        self._network = network
        self.buckets = buckets
        self.capturable = capturable
        self.batches: list[int] = []
        self.backend, self.precision = network.backend, network.precision
        self.inputs, self.outputs = network.inputs, network.outputs

    def enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        self.batches.append(batch)
        self._card.enqueue(lambda: self._network.enqueue(batch, addresses, stream))

    def close(self) -> None:
        self._network.close()
