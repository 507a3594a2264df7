"""Building blocks of the LipGAN family, with the padding rule of Keras.

Keras pads "same" so that the output has ceil(size / stride) cells and puts the odd cell
at the bottom and the right; torch's `padding` cannot say that. Sizes are known when a network
is built, so the padding is worked out once, here, and never depends on the input.

Source: `generator.py` and `discriminator.py` of LipGAN (Rudrabha/LipGAN); padding as in TensorFlow's
"SAME".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Size = tuple[int, int]
"""Height, width."""

BATCH_NORM_MOMENTUM = 0.2
"""Keras writes the share that is kept (0.8), torch the share that is new."""

BATCH_NORM_EPSILON = 1e-3
INSTANCE_NORM_EPSILON = 1e-3


def same_padding(size: Size, kernel: Size, stride: Size) -> tuple[int, int, int, int]:
    """Padding of Keras' "same" convolution.

    Returns:
        Cells to add (left, right, top, bottom), the order of `torch.nn.functional.pad`.
    """
    top, bottom = _same_padding_1d(size[0], kernel[0], stride[0])
    left, right = _same_padding_1d(size[1], kernel[1], stride[1])
    return left, right, top, bottom


def _same_padding_1d(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pair(value: int | Size) -> Size:
    """One number for both axes, or (height, width)."""
    return (value, value) if isinstance(value, int) else value


def same_conv(in_channels: int, out_channels: int, size: Size, *, kernel: Size, stride: Size) -> nn.Sequential:
    """Convolution with bias and Keras' "same" padding for inputs of `size`."""
    left, right, top, bottom = same_padding(size, kernel, stride)
    if left == right and top == bottom:
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, (top, left)))
    return nn.Sequential(
        nn.ZeroPad2d((left, right, top, bottom)),
        nn.Conv2d(in_channels, out_channels, kernel, stride),
    )


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the reference's momentum and epsilon."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)


class ConvBlock(nn.Module):
    """Convolution with bias, batch normalisation, ReLU.

    Args:
        size: Height and width of the input.
        same: Keras' "same" padding; without it, none ("valid").
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        *,
        kernel: int | Size = 3,
        stride: int | Size = 1,
        same: bool = True,
    ) -> None:
        super().__init__()
        kernel, stride = pair(kernel), pair(stride)
        if same:
            conv = same_conv(in_channels, out_channels, size, kernel=kernel, stride=stride)
            self.out_size = (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
        else:
            conv = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride))
            self.out_size = (
                (size[0] - kernel[0]) // stride[0] + 1,
                (size[1] - kernel[1]) // stride[1] + 1,
            )
        self.conv = conv
        self.norm = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, in, *size] to [N, out, *out_size]."""
        return torch.relu(self.norm(self.conv(x)))


class NormedConv(nn.Module):
    """3 x 3 convolution, batch normalisation, no activation; output = input / stride."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, in, H, W] to [N, out, H / stride, W / stride], rounded up."""
        out: Tensor = self.norm(self.conv(x))
        return out


class TransposedBlock(nn.Module):
    """Transposed convolution with bias, batch normalisation, ReLU; output = input x stride.

    Keras' "same" keeps the first `stride x size` cells of the full result. With kernel 3 and stride 2
    the full result has one row and one column more, which are dropped at the bottom and the right
    (torch's `output_padding` would drop them at the top and the left: the picture would
    sit one pixel off the encoder's skip connections). Kernel 3 and stride 3 need no cut.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride)
        self.cut = 3 - stride
        self.norm = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, in, H, W] to [N, out, stride H, stride W]."""
        full = self.conv(x)
        kept = full[:, :, : -self.cut, : -self.cut] if self.cut else full
        return torch.relu(self.norm(kept))


class ResidualBlock(nn.Module):
    """Two `ConvBlock`s (the second with its own ReLU), plus the input, ReLU."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, size)
        self.second = ConvBlock(channels, channels, size)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W] that is nowhere negative, to the same shape."""
        # The reference's last ReLU changes nothing: every residual block follows a ReLU, so both terms are >= 0.
        out: Tensor = x + self.second(self.first(x))
        return out


class ScalarInstanceNorm(nn.Module):
    """Normalises over every axis but the batch; one scale and one shift for the whole tensor.

    Source: `InstanceNormalization(axis=None)` of keras-contrib: (x - mean) / (deviation + epsilon).
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W] to the same shape."""
        deviation, mean = torch.std_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (deviation + INSTANCE_NORM_EPSILON) * self.scale + self.shift


class DiscriminatorBlock(nn.Module):
    """Convolution with bias, scalar instance normalisation, LeakyReLU 0.2."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        *,
        kernel: int | Size = 3,
        stride: int | Size = 1,
        same: bool = True,
    ) -> None:
        super().__init__()
        kernel, stride = pair(kernel), pair(stride)
        if same:
            self.conv = same_conv(in_channels, out_channels, size, kernel=kernel, stride=stride)
            self.out_size = (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
        else:
            self.conv = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride))
            self.out_size = (size[0] - kernel[0] + 1, size[1] - kernel[1] + 1)
        self.norm = ScalarInstanceNorm()

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, in, *size] to [N, out, *out_size]."""
        return nn.functional.leaky_relu(self.norm(self.conv(x)), 0.2)
