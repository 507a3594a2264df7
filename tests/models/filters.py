"""Filters small enough to export in a test, and smooth random pictures to draw."""

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from models.filter_export import FilterJob
from models.filter_graphs import AsTrained, FilterSamples
from models.filter_networks import DrawingNetwork
from models.manifest import Licence
from models.oasis import OasisConfig, OasisGenerator
from models.pix2pix import Norm, ResNetConfig, ResNetGenerator, UNetConfig, UNetGenerator
from models.plane_filter import PlaneFilter
from models.steady_filter import SteadyFilter
from models.tiny_filter import Memory, TinyFilter, TinyFilterConfig

LICENCE = Licence(weights="none", data=("random numbers",))
SIZE = (64, 96)

_Network = TypeVar("_Network", bound=torch.nn.Module)


def frames(count: int, *, seed: int, size: tuple[int, int] = SIZE, channels: int = 3, run: int = 1) -> FilterSamples:
    """Smooth random pictures; of a run, each is the one before with something added."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.uniform(-1, 1, (count, channels, height // 16, width // 16)).astype(np.float32)
    pictures = np.kron(coarse, np.ones((1, 1, 16, 16), np.float32))
    for index in range(count):
        if index % run:
            pictures[index] = 0.8 * pictures[index - 1] + 0.2 * pictures[index]
    return FilterSamples(pictures, run)


def job(folder: Path, precisions: tuple[str, ...] = ("fp32",), how: AsTrained | None = None) -> FilterJob:
    """An export to a folder."""
    return FilterJob(
        folder=folder,
        title="A filter of random numbers",
        size_px=SIZE,
        licence=LICENCE,
        how=how or AsTrained(),
        precisions=precisions,
    )


def tiny(memory: Memory = "none", *, residual: bool = False, seed: int = 0) -> TinyFilter:
    """Random weights, larger than first ones so that what is drawn differs from what went in."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = TinyFilter(
        TinyFilterConfig("a", residual=residual, memory=memory, state_channels=0 if memory == "none" else 8)
    )
    with torch.no_grad():
        network.head.weight.mul_(5.0 if residual else 2.0)
    return network.eval()


def planes(*, seed: int = 0) -> PlaneFilter:
    """Random weights; a new one draws a blur of what it is shown."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return PlaneFilter().eval()


def steady(inner: DrawingNetwork, *, seed: int = 0) -> SteadyFilter:
    """Something that makes another network steady, with random weights."""
    torch.manual_seed(seed)
    network = SteadyFilter(inner)
    with torch.no_grad():
        network.steadying.sharpness.weight.normal_(0.0, 0.1)
    return network.eval()


def unet(norm: Norm = "batch", *, seed: int = 0) -> UNetGenerator:
    """Random weights whose batch norms have seen something."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = UNetGenerator(UNetConfig(downs=5, channels=8, norm=norm))
    return settled(network, (64, 96))


def resnet(norm: Norm = "instance", *, seed: int = 0) -> ResNetGenerator:
    """Random weights whose batch norms have seen something."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = ResNetGenerator(ResNetConfig(blocks=2, channels=8, norm=norm))
    return settled(network, (64, 96))


LAYOUT_CLASSES = 5


def oasis(*, seed: int = 0) -> OasisGenerator:
    """Random weights, batch norm statistics of real activations."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = OasisGenerator(OasisConfig(LAYOUT_CLASSES, noise=4, channels=2, hidden=8, fold=4))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and "parametrizations" not in name:
                weight.mul_(30)
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        network.train()
        network(torch.from_numpy(layouts(4, seed=9).frames))
    return network.eval()


def layouts(count: int, *, seed: int) -> FilterSamples:
    """Blocks of random classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(LAYOUT_CLASSES, size=(count, SIZE[0] // 16, SIZE[1] // 16))
    one_hot = np.eye(LAYOUT_CLASSES, dtype=np.float32)[labels].transpose(0, 3, 1, 2)
    return FilterSamples(np.kron(one_hot, np.ones((1, 1, 16, 16), np.float32)))


def settled(network: _Network, size: tuple[int, int]) -> _Network:
    """Weights a hundred times the published first ones' variance, batch norm statistics of real activations."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.weight.mul_(5.0)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
                # Off their starting values, so that a forgotten or exchanged one shows.
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.uniform_(-0.1, 0.1)
        network.train()
        network(torch.from_numpy(frames(4, seed=9, size=size).frames))
    return network.eval()
