"""Makes a filter steady in time: where nothing moves, each picture is drawn towards the one that was drawn last.

It is laid around a network that draws each picture by itself, and works on cells of 4 x 4 pixels, folded into channels:

    drawn = new + pull * off * max(0, 1 - sharpness * off^2),   off = last - new

The pull is one number of the filter. The sharpness is one of every cell, from a small network that sees how far the
input's brightness, colours and details have changed since the last picture, beside those that are there: grain changes
details more than means, motion both. What is off by more than 1 / sqrt(sharpness) is not pulled at all, so nothing that
moves leaves a trail; after a cut nothing is pulled. A picture that is the same as the last one gives the last drawing,
bit for bit. There is no look-ahead, and no delay.

Where a filter is served, the last picture and the last drawing are first moved along with what moved
(`models.filter_memory`). The small network learns without that, from motion that nothing follows.

Source: recursion along time that lets go where something moves: E. Dubois, S. Sabri, "Noise reduction in image
sequences using motion-compensated temporal filtering", IEEE Trans. Communications 32 (1984); the weight falls with the
square of the difference to zero, as in J. W. Tukey's biweight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from kernels.folded_planes import CELL_BYTES, FOLD
from kernels.yuv import BT601_LIMITED, rgb_to_yuv_matrix
from models.checkpoint import read_weights, write_weights
from models.engine import EngineError
from models.network_config import known_fields
from models.plane_filter import LEVELS, PlaneFilter, cells_of_rgb, framed_cells, in_levels, rgb_of_cells

SEEN = 8
"""Figures of a cell: brightness, five waves of it (a cell's halves, and its neighbouring pixels), two of colour."""

CUT = 0.08
"""Mean change of brightness, of the range from black to white, from which on a picture is another scene."""

LARGEST_PULL = 0.9

_KIND = "steadying"
# What was learnt knows brightness from here on.
_DARKEST = 1 / 64
_FIRST_PULL, _FIRST_LOG_SHARPNESS, _LOG_SHARPNESS = 0.8, 4.0, (0.0, 12.0)


@dataclass(frozen=True, slots=True)
class SteadyConfig:
    """How the small network is built.

    Attributes:
        channels: Of its layers.
        caution: How much sharper than it was trained it is served: what moves loses less, and more grain is left.
    """

    channels: int = 8
    caution: float = 3.0

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels is {self.channels}, expected at least 1")
        if not self.caution > 0.0:
            raise ValueError(f"caution is {self.caution}, expected more than 0")

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, "what steadies a filter"))


class Since(NamedTuple):
    """A frame beside the one before it; bool [N, 1, 1, 1] each.

    Attributes:
        known: There was one before.
        frozen: It was the same.
    """

    known: Tensor
    frozen: Tensor


class FrameBefore(nn.Module):
    """Looks at two frames as a whole."""

    def forward(self, frame: Tensor, before: Tensor) -> Since:
        """Compare frames as they are shown, in levels or in [-1, 1]; of the first one, what was before is zeros.

        No picture is: in levels its chroma is not, in [-1, 1] 0 is between two levels.
        """
        known, changed = (each.abs().amax((1, 2, 3), keepdim=True) > 0 for each in (before, frame - before))
        return Since(known, known & ~changed)


class Steadying(nn.Module):
    """What is laid around a network. Its weights know nothing of that network, nor of how cells hold a picture.

    Args:
        looks: Weights [SEEN, C] and biases of a cell's figures, from `plane_looks` or `rgb_looks`.
        config: See there.
    """

    def __init__(self, looks: tuple[Tensor, Tensor], config: SteadyConfig | None = None) -> None:
        super().__init__()
        self.config = config or SteadyConfig()
        width = self.config.channels
        weights, biases = (each / LEVELS for each in looks)
        weights[0], biases[0] = weights[0] * (1 - _DARKEST), biases[0] * (1 - _DARKEST) + _DARKEST
        self.register_buffer("look_weights", weights[..., None, None], persistent=False)
        self.register_buffer("look_biases", biases, persistent=False)
        self.since = FrameBefore()
        self.change = nn.Conv2d(SEEN, width, 3, 2, 1)
        self.there = nn.Conv2d(SEEN, width, 3, 2, 1, bias=False)
        self.within = nn.Conv2d(width, width, 3, padding=1)
        self.wider = nn.Conv2d(width, width, 3, padding=1)
        self.sharpness = nn.Conv2d(width, 4, 3, padding=1)
        self.pull = nn.Parameter(torch.logit(torch.tensor(_FIRST_PULL / LARGEST_PULL)))
        assert self.sharpness.bias is not None
        nn.init.constant_(self.sharpness.bias, _FIRST_LOG_SHARPNESS)
        nn.init.zeros_(self.sharpness.weight)

    def forward(self, shown: Tensor, new: Tensor, before: Tensor, last: Tensor, since: Since) -> Tensor:
        """Steady one picture.

        Args:
            shown: Cells that the network was shown, float [N, C, H / 4, W / 4] in 0 to 255.
            new: What it drew of them, likewise.
            before: What it was shown last, likewise; of any value for the first picture.
            last: What this drew last, likewise.
            since: What is to be known of the picture before as a whole.

        Returns:
            What is drawn, as `new`.
        """
        sees = self.look(shown)
        change = (sees - self.look(before)).abs()
        same_scene = change.mean((2, 3), keepdim=True)[:, :1] < CUT
        pull = LARGEST_PULL * torch.sigmoid(self.pull) * (since.known & same_scene).to(new.dtype)
        off = last - new
        sharpness = self.sharpness_of(sees, change) * (2 / LEVELS) ** 2
        return torch.where(since.frozen, last, new + pull * off * torch.relu(1 - sharpness * off * off))

    def look(self, shown: Tensor) -> Tensor:
        """The figures of each cell, float [N, SEEN, H / 4, W / 4]; brightness is above 0 and at most 1."""
        assert isinstance(self.look_weights, Tensor)
        assert isinstance(self.look_biases, Tensor)
        return nn.functional.conv2d(shown, self.look_weights, self.look_biases)

    def sharpness_of(self, sees: Tensor, change: Tensor) -> Tensor:
        """Float [N, 1, H / 4, W / 4], at least 1, for pictures in [-1, 1]."""
        x = torch.relu(self.change(change.sqrt()) + self.there(sees.abs().sqrt()))
        x = torch.relu(self.wider(torch.relu(self.within(x))))
        sharpness = pixel_shuffle(self.sharpness(x).clamp(*_LOG_SHARPNESS).exp(), 2)
        return sharpness if self.training else self.config.caution * sharpness


class SteadyFilter(nn.Module):
    """A network that draws each picture by itself, and what makes it steady.

    Args:
        network: Takes and gives pictures of three channels; keeps nothing from frame to frame.
        config: Of what makes it steady.

    Attributes:
        planes: Whether cells hold a video frame's planes, as those of a plane filter, or RGB.

    Raises:
        ValueError: The network is not of this kind.
    """

    def __init__(self, network: nn.Module, config: SteadyConfig | None = None) -> None:
        super().__init__()
        inner: Any = network.config
        if (inner.in_channels, inner.out_channels) != (3, 3) or getattr(inner, "state_channels", None):
            raise ValueError("only a network of pictures in, pictures out and no memory of its own can be made steady")
        self.network: Any = network
        self.planes = isinstance(network, PlaneFilter)
        self.steadying = Steadying(plane_looks() if self.planes else rgb_looks(), config)

    def train(self, mode: bool = True) -> Self:
        """The wrapped network is trained already: it draws as it will when it is served."""
        super().train(mode)
        self.network.eval()
        return self

    @property
    def config(self) -> Any:  # noqa: ANN401 - the wrapped network's, of whichever family
        """What the wrapped network takes and gives."""
        return self.network.config

    def forward(
        self, frame: Tensor, before: Tensor | None = None, last: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a frame.

        Args:
            frame: Float RGB [N, 3, H, W] in [-1, 1]; sides are multiples of what the network asks for, and of 8.
            before: The frame before, of which moves along what moved; zeros (or None) for the first.
            last: What this drew of it, likewise.

        Returns:
            The picture, float RGB [N, 3, H, W]; the frame; and what was drawn in cells, float
            [N, 24 or 48, H / 4, W / 4] in 0 to 255.
        """
        if before is None or last is None:
            cells = (CELL_BYTES if self.planes else 3 * FOLD**2, *(side // FOLD for side in frame.shape[2:]))
            before, last = torch.zeros_like(frame), frame.new_zeros(len(frame), *cells)
        since = self.steadying.since(frame, before)
        if self.planes:
            drawn = self.redraw(cells_of_rgb(frame), cells_of_rgb(before), last, since)
            return rgb_of_cells(drawn if self.training else in_levels(drawn), clamped=not self.training), frame, drawn
        half = LEVELS / 2
        shown, new, was = (pixel_unshuffle((each + 1) * half, FOLD) for each in (frame, self.network(frame), before))
        drawn = self.steadying(shown, new, was, last, since)
        return pixel_shuffle(drawn, FOLD) / half - 1, frame, drawn

    def redraw(self, cells: Tensor, before: Tensor, last: Tensor, since: Since, framed: Tensor | None = None) -> Tensor:
        """Draw folded planes, as `PlaneFilter.redraw`."""
        drawn: Tensor = self.steadying(cells, self.network.redraw(cells, framed), before, last, since)
        return drawn


class ServedSteadyFilter(nn.Module):
    """A steady filter of RGB; who serves it knows what the frame was."""

    def __init__(self, steady: SteadyFilter) -> None:
        super().__init__()
        self.config = steady.config
        self.steady = steady

    def forward(self, frame: Tensor, before: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `SteadyFilter.forward`."""
        picture, _, last = self.steady(frame, before, last)
        return picture, last


class FoldedSteadyFilter(nn.Module):
    """A steady plane filter from bytes to bytes."""

    def __init__(self, steady: SteadyFilter) -> None:
        super().__init__()
        self.config = steady.config
        self.steady = steady

    def forward(self, cells: Tensor, before: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Draw folded planes.

        Args:
            cells: uint8 [N, H / 4, W / 4, 24], as `kernels.folded_planes` has it.
            before: Those of the frame before, of which moves along what moved; zeros for the first.
            last: Float [N, H / 4, W / 4, 24], what was drawn of it.

        Returns:
            As `cells` and `last`.
        """
        shown, framed, was = (
            each.permute(0, 3, 1, 2).to(torch.float32) for each in (cells, framed_cells(cells), before)
        )
        since = self.steady.steadying.since(shown, was)
        drawn = self.steady.redraw(shown, was, last.permute(0, 3, 1, 2), since, framed)
        return in_levels(drawn).to(torch.uint8).permute(0, 2, 3, 1), drawn.permute(0, 2, 3, 1)


def save_steadying(path: Path, steadying: Steadying) -> None:
    """Write what makes a filter steady, without the filter."""
    header = {_KIND: json.dumps(steadying.config.as_dict())}
    write_weights(path, steadying.state_dict(), header, half=False)


def steadied(network: nn.Module, path: Path) -> SteadyFilter:
    """Lay what `save_steadying` wrote around a network, ready to draw.

    Raises:
        EngineError: The file is missing, damaged, or holds something else.
        ValueError: The network is not of the kind that can be made steady.
    """
    header, tensors = read_weights(path)
    if _KIND not in header:
        raise EngineError(f"{path} holds nothing that makes a filter steady. Write it with save_steadying")
    try:
        steady = SteadyFilter(network, SteadyConfig.from_dict(json.loads(header[_KIND])))
        steady.steadying.load_state_dict(tensors)
    except RuntimeError as error:
        raise EngineError(f"{path} does not fit its own header: {error}. Train it again") from None
    return steady.eval()


def plane_looks() -> tuple[Tensor, Tensor]:
    """Weights [SEEN, 24] and biases of the figures of a cell of folded planes."""
    luma, chroma = FOLD**2, (CELL_BYTES - FOLD**2) // 2
    looks = torch.zeros(SEEN, CELL_BYTES)
    looks[:-2, :luma] = _waves()
    for plane in range(2):
        first = luma + plane * chroma
        looks[SEEN - 2 + plane, first : first + chroma] = 1 / chroma
    return looks, torch.zeros(SEEN)


def rgb_looks() -> tuple[Tensor, Tensor]:
    """The same of a cell of folded RGB: weights [SEEN, 48]."""
    matrix = torch.tensor(rgb_to_yuv_matrix(BT601_LIMITED), dtype=torch.float32)
    waves = _waves()
    mixed = [(matrix[0], wave) for wave in waves] + [(mix, waves[0]) for mix in matrix[1:]]
    looks = torch.stack([torch.outer(mix[:3], wave).flatten() for mix, wave in mixed])
    bias = torch.zeros(SEEN)
    bias[[0, SEEN - 2, SEEN - 1]] = matrix[:, 3]
    return looks, bias


def _waves() -> Tensor:
    """Means [SEEN - 2, 16] over a cell's pixels, of both signs but for the first."""
    even, halves = torch.ones(FOLD), torch.tensor([1.0, 1.0, -1.0, -1.0])
    neighbours = torch.tensor([1.0, -1.0, 1.0, -1.0])
    pairs = [(even, even), (even, halves), (halves, even), (halves, halves), (even, neighbours), (neighbours, even)]
    return torch.stack([torch.outer(*pair).flatten() for pair in pairs]) / FOLD**2
