"""A network on a card as an engine of NumPy arrays, on a stand-in whose memory is the host's."""

import numpy as np
import pytest

from models.card_engine import CardEngine
from models.catalogue import WEIGHTS
from models.checkpoint import load_generator
from models.engine import DeviceMemoryError, EngineError
from models.torch_cuda_engine import generator_on_card
from models.torch_engine import TorchEngine
from tests.kernels.cuda.fake_card import FakeCard, FakeError
from tests.models.on_fake_card import NetworkOnFakeCard

pytestmark = pytest.mark.unit

CHECKPOINT = WEIGHTS / "lipgan_quarter" / "generator.safetensors"


def opened(monkeypatch: pytest.MonkeyPatch, room: int = 1 << 28) -> tuple[FakeCard, NetworkOnFakeCard, CardEngine]:
    card = FakeCard(room)
    network = NetworkOnFakeCard(card, generator_on_card(CHECKPOINT, precision="fp32", device="cpu"), buckets=(1, 2))
    return card, network, CardEngine(network, card.open(monkeypatch))


def feed(batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch)
    face, mel = random.random((batch, 6, 96, 96), np.float32), random.uniform(-4, 4, (batch, 1, 80, 27))
    return {"face": face, "mel": mel.astype(np.float32)}


def test_more_pictures_than_fit_go_in_turns_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    card, network, engine = opened(monkeypatch)
    shown = feed(5)
    found = engine.infer(shown)["picture"]
    assert network.batches == [2, 2, 1]
    expected = TorchEngine(load_generator(CHECKPOINT)).infer(shown)["picture"]
    # Folding the batch norm moves the last bits.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    engine.close()
    engine.close()
    assert card.used == 0
    with pytest.raises(EngineError, match="was closed"):
        engine.infer(shown)


def test_no_room_on_the_card_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, engine = opened(monkeypatch, room=1000)
    with pytest.raises(DeviceMemoryError, match="no room left"):
        engine.infer(feed(1))


def test_a_card_that_fails_is_an_engine_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    card, _, engine = opened(monkeypatch)
    card.sticky = FakeError("an illegal memory access was encountered")
    with pytest.raises(EngineError, match=r"illegal memory access.*gpu-check"):
        engine.infer(feed(1))


def test_half_precision_stays_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    network = NetworkOnFakeCard(card, generator_on_card(CHECKPOINT, device="cpu"))
    engine = CardEngine(network, card.open(monkeypatch))
    assert {spec.dtype for spec in (*engine.inputs.values(), *engine.outputs.values())} == {"float32"}
    assert engine.infer(feed(1))["picture"].dtype == np.float32
