"""A generator small enough to export in a test, whose pictures really depend on face and sound."""

import numpy as np
import torch

from models.graphs import Samples
from models.lipgan import FACE_SIZE, LipGanConfig, LipGanGenerator
from models.manifest import Licence
from models.openvino_engine import supports

WIDTH = 0.125
LICENCE = Licence(weights="none", data=("random numbers",))
PRECISIONS = tuple(each for each in ("fp32", "bf16", "int8") if each != "bf16" or supports("bf16"))


def tiny_generator(seed: int = 0) -> LipGanGenerator:
    """Random weights; batch norm statistics of real activations make the pictures vary."""
    # More threads than idle cores would make a network this small several times slower.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = LipGanGenerator(LipGanConfig(width=WIDTH))
    inputs = samples(4, seed=seed)
    settle(generator, torch.from_numpy(inputs.face), torch.from_numpy(inputs.mel))
    return generator.eval()


def settle(generator: torch.nn.Module, face: torch.Tensor, mel: torch.Tensor) -> None:
    """Give random weights the batch norm statistics of these activations: their pictures then vary."""
    for layer in generator.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        generator(face, mel)


def samples(count: int, *, seed: int) -> Samples:
    """Smooth random pictures with their lower target half masked, and random mel windows."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 6, 6, 6), dtype=np.float32)
    face = np.kron(coarse, np.ones((1, 1, 16, 16), np.float32))
    face[:, 3:, FACE_SIZE // 2 :] = 0
    return Samples(face, rng.uniform(-4, 4, (count, 1, 80, 27)).astype(np.float32))
