"""The card's torch engine: the same code on host memory; what only a card shows is in `make gpu-check`."""

import numpy as np
import pytest
import torch

from models.catalogue import WEIGHTS
from models.checkpoint import load_generator
from models.engine import EngineError
from models.gate import measure_parity
from models.torch_cuda_engine import TorchCudaEngine, generator_on_card
from models.torch_engine import TorchEngine

pytestmark = pytest.mark.unit


def run(engine: TorchCudaEngine, face: np.ndarray, mel: np.ndarray) -> np.ndarray:
    face = face.astype(engine.inputs["face"].dtype)
    picture = np.full((len(face), 3, *face.shape[2:]), np.nan, face.dtype)
    addresses = {"face": face.ctypes.data, "mel": mel.ctypes.data, "picture": picture.ctypes.data}
    engine.enqueue(len(face), addresses, stream=0)
    return picture


def feed(engine: TorchCudaEngine, batch: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    shapes = [(batch, *engine.inputs[name].shape[1:]) for name in ("face", "mel")]
    return random.random(shapes[0], np.float32), random.uniform(-4, 4, shapes[1]).astype(np.float32)


@pytest.mark.parametrize("name", ["lipgan", "lipgan_quarter", "lipgan_lite"])
@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 90.0), ("fp16", 45.0)])
def test_what_lies_at_the_addresses_is_what_torch_draws(name: str, precision: str, least_db: float) -> None:
    generator = load_generator(WEIGHTS / name / "generator.safetensors")
    engine = generator_on_card(generator, precision=precision, device="cpu")
    face, mel = feed(engine, 2)
    found = run(engine, face, mel)
    expected = TorchEngine(generator).infer({"face": face, "mel": mel})["picture"]
    assert measure_parity(expected, found.astype(np.float32), least_db).psnr_db >= least_db


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("sound", [-4.0, 4.0])
def test_extremes_stay_finite_in_half_precision(level: float, sound: float) -> None:
    engine = generator_on_card(WEIGHTS / "lipgan_lite" / "generator.safetensors", device="cpu")
    face, mel = feed(engine, 1)
    assert np.isfinite(run(engine, np.full_like(face, level), np.full_like(mel, sound))).all()


def test_what_does_not_fit_is_refused() -> None:
    engine = generator_on_card(WEIGHTS / "lipgan_quarter" / "generator.safetensors", device="cpu")
    face, mel = feed(engine, 1)
    with pytest.raises(EngineError, match="takes addresses of"):
        engine.enqueue(1, {"face": face.ctypes.data, "mel": mel.ctypes.data}, stream=0)
    addresses = {"face": face.ctypes.data, "mel": mel.ctypes.data, "picture": face.ctypes.data}
    for batch in (0, 3, 65):
        with pytest.raises(EngineError, match=f"a batch of {batch}"):
            engine.enqueue(batch, addresses, stream=0)
    with pytest.raises(EngineError, match=r"found 'int8'.*precision=\"fp16\""):
        generator_on_card(WEIGHTS / "lipgan_quarter" / "generator.safetensors", precision="int8", device="cpu")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.enqueue(1, addresses, stream=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a card is told; this one has a card")
def test_without_a_card_it_says_what_to_take_instead() -> None:
    with pytest.raises(EngineError, match=r"sees no NVIDIA card.*--backend openvino"):
        generator_on_card(WEIGHTS / "lipgan_quarter" / "generator.safetensors")
