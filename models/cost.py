"""What a network costs before it is run: multiply-adds, counted as hardware does them.

A transposed convolution is counted on its input grid: each input cell meets each kernel cell once. Counting it on
the output grid, as many tools do, calls a stride-2 layer four times dearer than it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of all convolutions for these inputs (the batch is counted, biases are not)."""
    total = 0

    def count(layer: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        grid = taken[0] if isinstance(layer, nn.ConvTranspose2d) else given
        total += grid.shape[0] * grid.shape[2] * grid.shape[3] * layer.weight.numel()

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total
