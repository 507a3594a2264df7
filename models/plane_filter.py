"""A picture-to-picture network on a video frame's own planes, for a processor without fast small arithmetic.

A video frame is luma and two chroma planes of half the size; nothing is gained by drawing RGB for it. Cells of 4 x 4
pixels are folded into channels (16 of luma, 4 + 4 of chroma), which is a third less to read and to draw than RGB. Two
dense convolutions work on the cells, the rest on grids of a half and a quarter of their size, and the mean of the
coarsest one is told to all of it: how bright a picture is as a whole decides how it is to be lit. What is drawn is the
difference to the frame. In the engine the frame goes in and out in bytes, so that they are exact.

Source: `models.tiny_filter`, of which this is the small sister; the mean: J. Hu et al., "Squeeze-and-Excitation
Networks", CVPR 2018, added instead of multiplied; the matrix: ITU-R BT.601-7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle, pixel_unshuffle
from torch.nn.utils.parametrize import register_parametrization

from kernels.folded_planes import CELL_BYTES, FOLD
from kernels.yuv import BT601_LIMITED, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from models.network_config import known_fields
from models.tiny_filter import RESIDUAL_GAIN, Residual, same_for_a_cell

LEVELS = 255.0
_DETAIL_GAIN = 2.0
# Of details in a new network, and how much of them its first picture is without.
_ENLARGED, _TAKEN = 4.0, 0.8
_MIDDLE = LEVELS / 2
_LUMA = FOLD**2


@dataclass(frozen=True, slots=True)
class PlaneFilterConfig:
    """Which network to build.

    Attributes:
        fine: Channels on the cells.
        middle: On the grid of half the size.
        coarse: On that of a quarter.
        wide: Residual blocks on the coarse grid.
    """

    fine: int = 32
    middle: int = 48
    coarse: int = 64
    wide: int = 1

    def __post_init__(self) -> None:
        for name, least in (("fine", 2 * _LUMA), ("middle", 1), ("coarse", 1), ("wide", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")

    @property
    def multiple_px(self) -> int:
        """What height and width must be a multiple of."""
        return 4 * FOLD

    @property
    def in_channels(self) -> int:
        """Of the picture in RGB."""
        return 3

    @property
    def out_channels(self) -> int:
        """Of the drawn picture in RGB."""
        return 3

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a checkpoint's header.

        Raises:
            ValueError: A value does not fit, or a field is unknown.
        """
        return cls(**known_fields(cls, values, "a plane filter"))


class PlaneFilter(nn.Module):
    """See the module. Takes and gives RGB, as a definition; `FoldedFilter` is what an engine runs of it."""

    def __init__(self, config: PlaneFilterConfig | None = None) -> None:
        super().__init__()
        self.config = config or PlaneFilterConfig()
        fine, middle, coarse = self.config.fine, self.config.middle, self.config.coarse
        self.stem = nn.Conv2d(CELL_BYTES, fine, 3)
        self.shrink = nn.Conv2d(CELL_BYTES, middle, 2, 2)
        self.shrink_more = nn.Conv2d(middle, coarse, 2, 2)
        self.wide = nn.Sequential(*(Residual(coarse) for _ in range(self.config.wide)))
        summed, told = nn.Conv2d(coarse, coarse, 1), nn.Conv2d(coarse, coarse, 1)
        self.summary = nn.Sequential(summed, nn.ReLU(), told)
        self.grow = nn.Conv2d(coarse, 4 * middle, 1)
        self.grow_more = nn.Conv2d(middle, 4 * fine, 1)
        self.head = nn.Conv2d(fine, CELL_BYTES, 3, padding=1)
        for grow in (self.grow, self.grow_more):
            same_for_a_cell(grow, 2)
        self._begin_as_a_blur((told, self.grow_more))
        register_parametrization(self.stem, "weight", DetailFirst(0.1))
        register_parametrization(self.shrink, "weight", DetailFirst(0.25))

    @torch.no_grad()
    def _begin_as_a_blur(self, quiet: tuple[nn.Conv2d, ...]) -> None:
        """First weights: what a pixel differs from its surroundings by, with either sign; most of it is taken away.

        All that is to be learnt is where, how much, and from which size on.
        """
        for conv in quiet:
            conv.weight.mul_(RESIDUAL_GAIN)
            assert conv.bias is not None
            conv.bias.zero_()
        for conv, kept in ((self.stem, 0.1), (self.head, 0.02)):
            conv.weight.mul_(kept)
            assert conv.bias is not None
            conv.bias.zero_()
        for pixel in range(_LUMA):
            detail = _detail_of(pixel)
            self.stem.weight[pixel, :_LUMA] += detail
            self.stem.weight[_LUMA + pixel, :_LUMA] -= detail
            self.head.weight[pixel, pixel, 1, 1] -= _TAKEN / _ENLARGED
            self.head.weight[pixel, _LUMA + pixel, 1, 1] += _TAKEN / _ENLARGED

    def forward(self, frame: Tensor) -> Tensor:
        """Draw a picture that becomes planes before and RGB after it, as a video frame does on its way.

        Args:
            frame: Float RGB [N, 3, H, W] in [-1, 1]; height and width are multiples of `config.multiple_px`.

        Returns:
            Float RGB [N, 3, H, W]; in [-1, 1], but while it is trained.
        """
        drawn = self.redraw(cells_of_rgb(frame))
        return rgb_of_cells(drawn if self.training else in_levels(drawn), clamped=not self.training)

    def redraw(self, cells: Tensor, framed: Tensor | None = None) -> Tensor:
        """Draw folded planes.

        Args:
            cells: Float [N, 24, H / 4, W / 4] in 0 to 255.
            framed: The same with its border cells once more around it, where it was cheaper to frame it elsewhere.

        Returns:
            Float [N, 24, H / 4, W / 4], neither clamped nor rounded.
        """
        shown = cells * (1.0 / LEVELS)
        # A black frame around a picture would be all detail.
        framed = pad(cells, (1, 1, 1, 1), mode="replicate") if framed is None else framed
        fine = torch.relu(self.stem(framed * (1.0 / LEVELS)))
        middle = torch.relu(self.shrink(shown))
        coarse = self.wide(torch.relu(self.shrink_more(middle)))
        coarse = torch.relu(coarse + self.summary(coarse.mean((2, 3), keepdim=True)))
        middle = torch.relu(middle + pixel_shuffle(self.grow(coarse), 2))
        fine = torch.relu(fine + pixel_shuffle(self.grow_more(middle), 2))
        out: Tensor = cells + self.head(fine) * LEVELS
        return out


class DetailFirst(nn.Module):
    """Weights for the mean of a cell's pixels, and for what they differ from it by, instead of for the pixels.

    The pixels of a cell are nearly equal, and grain is a fiftieth of their mean: weights for pixels learn the one only
    by forgetting the other, and in a thousand steps learnt nothing of either.

    Args:
        mean_gain: How strongly a weight for the mean counts; one for a difference counts twice.
    """

    def __init__(self, mean_gain: float) -> None:
        super().__init__()
        parts = [_detail_first(pixels, mean_gain) for pixels in (_LUMA, _LUMA // 4, _LUMA // 4)]
        mixed = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
        self.register_buffer("mixed", mixed, persistent=False)
        self.register_buffer("parted", torch.linalg.inv(mixed), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Float [C, 24, h, w] to the same, for pixels."""
        assert isinstance(self.mixed, Tensor)
        return torch.einsum("oikl,ij->ojkl", weight, self.mixed)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Weights for pixels to those that are learnt."""
        assert isinstance(self.parted, Tensor)
        return torch.einsum("oikl,ij->ojkl", weight, self.parted)


def _detail_first(pixels: int, mean_gain: float) -> Tensor:
    mean = torch.full((pixels, pixels), 1.0 / pixels)
    return mean_gain * mean + _DETAIL_GAIN * (torch.eye(pixels) - mean)


def _detail_of(pixel: int) -> Tensor:
    """A pixel of the middle cell less a blur around it, enlarged: weights [16, 3, 3] on cells of luma."""
    row, column = FOLD + pixel // FOLD, FOLD + pixel % FOLD
    places = torch.arange(3.0 * FOLD)
    blur = torch.exp(-((places[:, None] - row) ** 2 + (places - column) ** 2) / 2)
    detail = -blur / blur.sum()
    detail[row, column] += 1.0
    weights: Tensor = pixel_unshuffle(_ENLARGED * detail[None, None], FOLD)[0]
    return weights


class FoldedFilter(nn.Module):
    """A plane filter from bytes to bytes."""

    def __init__(self, network: PlaneFilter) -> None:
        super().__init__()
        self.config = network.config
        self.network = network

    def forward(self, cells: Tensor) -> Tensor:
        """uint8 [N, H / 4, W / 4, 24], as `kernels.folded_planes` has it, to the same."""
        shown, framed = (each.permute(0, 3, 1, 2).to(torch.float32) for each in (cells, framed_cells(cells)))
        return in_levels(self.network.redraw(shown, framed)).to(torch.uint8).permute(0, 2, 3, 1)


def framed_cells(cells: Tensor) -> Tensor:
    """Cells [N, h, w, 24] with those of the border once more around them; as bytes, whole rows are copied."""
    tall = torch.cat([cells[:, :1], cells, cells[:, -1:]], 1)
    return torch.cat([tall[:, :, :1], tall, tall[:, :, -1:]], 2)


def in_levels(cells: Tensor) -> Tensor:
    """The nearest bytes."""
    return torch.clamp(torch.round(cells), 0.0, LEVELS)


def cells_of_rgb(frame: Tensor) -> Tensor:
    """What `kernels.yuv.rgb_to_i420` and `kernels.folded_planes.folded` make of a picture, but for a level of rounding.

    Args:
        frame: Float RGB [N, 3, H, W] in [-1, 1].

    Returns:
        Float [N, 24, H / 4, W / 4], whole numbers from 0 to 255.
    """
    yuv = _mixed((frame + 1.0) * _MIDDLE, rgb_to_yuv_matrix(BT601_LIMITED))
    luma, chroma = in_levels(yuv[:, :1]), in_levels(avg_pool2d(yuv[:, 1:], 2))
    return torch.cat([pixel_unshuffle(luma, FOLD), pixel_unshuffle(chroma, FOLD // 2)], 1)


def rgb_of_cells(cells: Tensor, *, clamped: bool) -> Tensor:
    """What `kernels.folded_planes.unfolded` and `kernels.frame_tensor.frame_to_tensor` make of cells, unrounded."""
    luma = pixel_shuffle(cells[:, :_LUMA], FOLD)
    chroma = pixel_shuffle(cells[:, _LUMA:], FOLD // 2)
    whole = interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = _mixed(torch.cat([luma, whole], 1), yuv_to_rgb_matrix(BT601_LIMITED)) / _MIDDLE - 1.0
    return torch.clamp(rgb, -1.0, 1.0) if clamped else rgb


def _mixed(planes: Tensor, matrix: Any) -> Tensor:  # noqa: ANN401 - float64 [3, 4], read-only
    weights = torch.tensor(matrix, dtype=planes.dtype, device=planes.device)
    return torch.einsum("ij,njhw->nihw", weights[:, :3], planes) + weights[:, 3].view(1, 3, 1, 1)
