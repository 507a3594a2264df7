"""A picture-to-picture network that a processor draws at frame rate, at any size.

The picture is folded into channels (pixel unshuffle), so that the work is dense 3 x 3 convolutions on a coarse grid,
and unfolded at the end (pixel shuffle). One further grid of half the size sees wider. A filter that changes little of a
picture draws the difference alone; one that is to be steady in time gets a state, which is an input and an output like
any other: whoever runs the network carries it from frame to frame.

Source: W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", CVPR 2016; initial weights: A. Aitken et al., "Checkerboard artifact free sub-pixel convolution",
arXiv:1707.02937; the gate of the state: X. Shi et al., "Convolutional LSTM Network", NeurIPS 2015, with one gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from models.network_config import known_fields

TinySize = Literal["a", "b", "c", "d"]
Memory = Literal["none", "previous", "recurrent"]

RESIDUAL_GAIN = 0.1
"""Of the first weights that end a residual branch: without normalisation, a deep network then begins near its input."""

KEPT = 2.0
"""The gate's first bias: a new network keeps 88 % of its state, and learns to let go."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """One size of the network.

    Attributes:
        fold: Pixels, along each side, that one cell of the fine grid holds.
        channels: On the fine grid; the coarse one has twice as many.
        blocks: Residual blocks on the fine grid before the coarse one, on that, and after it.
    """

    fold: int
    channels: int
    blocks: tuple[int, int, int]


LAYOUTS: Mapping[TinySize, _Layout] = {
    "a": _Layout(fold=4, channels=32, blocks=(0, 2, 1)),
    "b": _Layout(fold=4, channels=48, blocks=(0, 2, 1)),
    "c": _Layout(fold=4, channels=64, blocks=(1, 3, 1)),
    "d": _Layout(fold=8, channels=96, blocks=(1, 1, 1)),
}


@dataclass(frozen=True, slots=True)
class TinyFilterConfig:
    """Which network to build.

    Attributes:
        size: "a" to "c" fold 4 x 4 pixels, "d" folds 8 x 8.
        in_channels: Of the picture; 1 for a grey one.
        out_channels: Of the drawn picture.
        residual: Draw what is added to the picture, not the picture.
        memory: "none"; "previous": the state is made of the frame alone, so that the next one is drawn with the last
            one in sight, and a frozen picture is exactly the same from its second frame on; "recurrent": the state is
            blended with the one before, remembers longer, and comes to rest on a frozen picture by and by.
        state_channels: Of the state; 0 without memory.
    """

    size: TinySize = "b"
    in_channels: int = 3
    out_channels: int = 3
    residual: bool = False
    memory: Memory = "none"
    state_channels: int = 0

    def __post_init__(self) -> None:
        if self.size not in LAYOUTS:
            raise ValueError(f"size is {self.size!r}, expected one of {', '.join(LAYOUTS)}")
        if self.memory not in get_args(Memory):
            raise ValueError(f"memory is {self.memory!r}, expected one of {', '.join(get_args(Memory))}")
        if (self.memory == "none") != (self.state_channels == 0) or self.state_channels < 0:
            raise ValueError(f"state_channels is {self.state_channels} with memory {self.memory!r}: 0 goes with none")
        if self.residual and self.in_channels != self.out_channels:
            raise ValueError(
                f"residual adds {self.out_channels} channels to {self.in_channels}: expected as many of each"
            )

    @property
    def fold(self) -> int:
        """Pixels per cell of the fine grid, along each side."""
        return LAYOUTS[self.size].fold

    @property
    def multiple_px(self) -> int:
        """What height and width must be a multiple of."""
        return 2 * self.fold

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, "a tiny filter"))


class Residual(nn.Module):
    """x + conv(ReLU(conv(x))), ReLU; for x that is nowhere negative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(RESIDUAL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W] to the same shape."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class TinyFilter(nn.Module):
    """See the module. Draws one frame, given the state that the last one left."""

    def __init__(self, config: TinyFilterConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyFilterConfig()
        layout, kept = LAYOUTS[self.config.size], self.config.state_channels
        folded, fine, coarse = layout.fold**2, layout.channels, 2 * layout.channels
        before, within, after = layout.blocks
        self.fold = nn.PixelUnshuffle(layout.fold)
        self.stem = nn.Conv2d(self.config.in_channels * folded + kept, fine, 3, padding=1)
        self.before = nn.Sequential(*(Residual(fine) for _ in range(before)))
        self.shrink = nn.Conv2d(fine, coarse, 3, 2, 1)
        self.within = nn.Sequential(*(Residual(coarse) for _ in range(within)))
        self.grow = nn.Conv2d(coarse, 4 * fine, 1)
        self.widen = nn.PixelShuffle(2)
        self.after = nn.Sequential(*(Residual(fine) for _ in range(after)))
        self.head = nn.Conv2d(fine, self.config.out_channels * folded, 3, padding=1)
        self.unfold = nn.PixelShuffle(layout.fold)
        if self.config.memory == "previous":
            self.remember = nn.Conv2d(self.config.in_channels * folded, kept, 3, padding=1)
        elif self.config.memory == "recurrent":
            self.remember = nn.Conv2d(fine, kept, 3, padding=1)
            self.gate = nn.Conv2d(fine, kept, 3, padding=1)
            nn.init.constant_(self.gate.bias, -KEPT)  # type: ignore[arg-type]
        same_for_a_cell(self.grow, 2)
        same_for_a_cell(self.head, layout.fold)
        if self.config.residual:
            with torch.no_grad():
                self.head.weight.mul_(RESIDUAL_GAIN)

    def forward(self, frame: Tensor, state: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Draw a frame.

        Args:
            frame: Float [N, in_channels, H, W] in [-1, 1]; height and width are multiples of `config.multiple_px`.
            state: Float [N, state_channels, H / fold, W / fold] in [-1, 1]: what the last frame gave, zeros (or None)
                for the first. Only with memory.

        Returns:
            Float [N, out_channels, H, W]; in [-1, 1], but for a residual network that is being trained. With memory,
            the next state beside it.
        """
        folded = self.fold(frame)
        if not self.config.state_channels:
            return self._picture(frame, self._features(folded))
        if state is None:
            state = frame.new_zeros(self.state_shape(frame))
        features = self._features(torch.cat([folded, state], 1))
        return self._picture(frame, features), self._next_state(folded, features, state)

    def state_shape(self, frame: Tensor) -> tuple[int, int, int, int]:
        """Of the state that goes with frames [N, C, H, W]."""
        fold = self.config.fold
        return len(frame), self.config.state_channels, frame.shape[2] // fold, frame.shape[3] // fold

    def _features(self, folded: Tensor) -> Tensor:
        fine = self.before(torch.relu(self.stem(folded)))
        coarse = self.within(torch.relu(self.shrink(fine)))
        out: Tensor = self.after(torch.relu(fine + self.widen(self.grow(coarse))))
        return out

    def _picture(self, frame: Tensor, features: Tensor) -> Tensor:
        drawn: Tensor = self.unfold(self.head(features))
        if not self.config.residual:
            return torch.tanh(drawn)
        # Beyond the range a clamped picture would teach nothing.
        return frame + drawn if self.training else torch.clamp(frame + drawn, -1.0, 1.0)

    def _next_state(self, folded: Tensor, features: Tensor, state: Tensor) -> Tensor:
        if self.config.memory == "previous":
            return torch.tanh(self.remember(folded))
        return state + torch.sigmoid(self.gate(features)) * (torch.tanh(self.remember(features)) - state)


def same_for_a_cell(conv: nn.Conv2d, fold: int) -> None:
    """Give all pixels of a cell the same first weights: a new network draws no checkerboard."""
    assert conv.bias is not None
    with torch.no_grad():
        for tensor in (conv.weight, conv.bias):
            tensor.copy_(tensor[:: fold**2].repeat_interleave(fold**2, 0))
