"""A lip-sync generator for crops of 192 and 256 pixels that a processor draws in int8, and that changes a mouth.

It is shown the picture that is to be changed with its mouth shut (`kernels.mouth`), and the same face with its mouth
open. Skin, beard and teeth are moved to where the sound wants them, at full resolution, along a coarse flow drawn
for either picture; what neither shows is painted.

Dense 3 x 3 convolutions of 64 channels and more on a quarter of the crop's resolution run near the limit of int8
arithmetic; layers at full resolution, depthwise and transposed convolutions do not. So the crop is folded into
channels on the way in (pixel unshuffle) and unfolded on the way out (pixel shuffle). Three further stages of half the
size each see the whole face. Only the lower half, and a few rows above it to blend over, are drawn. The sound enters
every stage that draws, as a scale and a shift of each channel.

Source: W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", CVPR 2016; A. Aitken et al., "Checkerboard artifact free sub-pixel convolution", arXiv:1707.02937;
E. Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; M. Jaderberg et al., "Spatial
Transformer Networks", NeurIPS 2015; moving a reference's mouth instead of painting one: Z. Zhang et al., "DINet", AAAI
2023 (arXiv:2303.03988); sound encoder: `models.lipgan`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from kernels.mel import MelWindow
from models.layers import NormedConv
from models.lipgan import LipGanConfig, Stack, sound_encoder
from models.speech_ear import SpeechEar

LiteSize = Literal["s", "m", "l"]
Ear = Literal["lipgan", "speech"]

FOLD = 4
"""Pixels of the crop, along each side, that one cell of the finest grid holds."""

MARGIN_CELLS = 4
"""Rows of that grid above the hidden half that are drawn as well, and blended over."""


FIRST_STROKES = 0.3
"""Gain of the last convolution's first weights, which keeps its sigmoids from saturating at once."""

FIRST_SHARES = (-1.0, 2.0, -1.0)
"""Where the three logits begin: nearly all of a first picture is the one that was shown, and all three can learn."""

SPEECH_PAST = 40
"""Mel columns before the picture's that the ear "speech" hears, 12.5 ms each."""

SHARES = ("paint", "target", "identity")

FLOW_CELLS = 2.0
"""Cells of the finest grid that a flow of 1 moves by: flows are then of the size that weights begin with."""


class Drawn(NamedTuple):
    """A picture and what it was made of.

    Attributes:
        picture: Float [N, 3, S, S] in [0, 1], RGB.
        places: Float [N, 2, 2, rows, S]: for the picture to change and for the other one, x and y of the source in
            [-1, 1] as `grid_sample` takes them with corners not aligned.
        shares: Float [N, 3, rows, S]: how much of each pixel comes from each of `SHARES`.
    """

    picture: Tensor
    places: Tensor
    shares: Tensor


@dataclass(frozen=True, slots=True)
class _Stage:
    """One row of a size's table.

    Attributes:
        channels: At this stage.
        encoder: Residual blocks on the way down.
        decoder: Residual blocks on the way up, on the lower rows only; the first takes the sound. In the last row of
            a table they see the whole grid and all take the sound.
    """

    channels: int
    encoder: int
    decoder: int


STAGES: dict[LiteSize, tuple[_Stage, ...]] = {
    "s": (_Stage(64, 0, 4), _Stage(96, 1, 2), _Stage(128, 1, 1), _Stage(128, 0, 2)),
    "m": (_Stage(128, 0, 4), _Stage(160, 1, 4), _Stage(192, 1, 1), _Stage(192, 0, 2)),
    "l": (_Stage(160, 1, 6), _Stage(256, 1, 4), _Stage(256, 1, 2), _Stage(320, 0, 2)),
}
"""Grids of 1/4, 1/8, 1/16 and 1/32 of the crop."""

CROP_STEP_PX = FOLD << (len(STAGES["m"]) - 1)
"""The crop's side is a multiple of this, so that every grid has whole cells."""


@dataclass(frozen=True, slots=True)
class LipGanLiteConfig:
    """Which generator.

    Attributes:
        variant: Always "lite"; tells this network from LipGAN's.
        size: Row of `STAGES`.
        crop_px: Side of the crop.
        look_ahead_ms: How much sound after a picture's time may be heard, see `MelWindow.within`; 188 gives LipGAN's
            own window.
        width: Factor on the channels of the sound encoder, which is LipGAN's basic one for mel; of "speech", on the
            512 of its vector.
        ear: "lipgan", or "speech": `models.speech_ear`.
    """

    variant: Literal["lite"] = "lite"
    size: LiteSize = "m"
    crop_px: int = 192
    look_ahead_ms: int = 188
    width: float = 0.5
    ear: Ear = "lipgan"

    @property
    def window(self) -> MelWindow:
        """The mel window that a picture sees."""
        return speech_window(self.look_ahead_ms) if self.ear == "speech" else MelWindow.within(self.look_ahead_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: An unknown variant or size, or a crop, look-ahead or width that cannot be.
        """
        # Files from before there was a choice do not name the ear.
        config = cls(**{name: values[name] for name in cls.__dataclass_fields__ if name != "ear" or name in values})
        if config.ear not in ("lipgan", "speech"):
            raise ValueError(f"no such ear: {config.ear!r}; expected lipgan or speech")
        if config.variant != "lite" or config.size not in STAGES:
            raise ValueError(f"no such lite LipGAN: {config}; expected size {', '.join(STAGES)}")
        if config.crop_px < CROP_STEP_PX or config.crop_px % CROP_STEP_PX:
            raise ValueError(f"crop_px is {config.crop_px}, expected a multiple of {CROP_STEP_PX}")
        if not config.width > 0:
            raise ValueError(f"width must be positive, found {config.width}")
        config.window  # noqa: B018 - refuses a look-ahead that cannot be
        return config


class _Fold(nn.Module):
    """Pixel unshuffle by `FOLD`, its channels last in memory: as int8 convolutions want them."""

    def forward(self, face: Tensor) -> Tensor:
        """Float [N, C, S, S] to [N, C * FOLD * FOLD, S / FOLD, S / FOLD]."""
        cells = face.shape[2] // FOLD
        split = face.reshape(*face.shape[:2], cells, FOLD, cells, FOLD)
        return split.permute(0, 2, 4, 1, 3, 5).reshape(face.shape[0], cells, cells, -1).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Two convolutions and their input; the sound scales and shifts each channel between the first and its ReLU."""

    def __init__(self, channels: int, sound_channels: int = 0) -> None:
        super().__init__()
        self.first = NormedConv(channels, channels)
        self.second = NormedConv(channels, channels)
        self.film = nn.Conv2d(sound_channels, 2 * channels, 1) if sound_channels else None

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """Float [N, C, H, W] and the sound's embedding [N, E, 1, 1] to [N, C, H, W]."""
        inner = self.first(x)
        if self.film is not None:
            scale, shift = self.film(sound).chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        return torch.relu(x + self.second(torch.relu(inner)))


class _Blocks(nn.ModuleList):
    """Blocks one after the other; the first `hearing` of them take the sound."""

    def __init__(self, count: int, channels: int, hearing: int, sound_channels: int) -> None:
        super().__init__(_Block(channels, sound_channels if i < hearing else 0) for i in range(count))

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """As `_Block`."""
        for block in self:
            x = block(x, sound)
        return x


class LipGanLite(nn.Module):
    """Changes the lower half of a face so that it says what is heard."""

    def __init__(self, config: LipGanLiteConfig) -> None:
        super().__init__()
        self.config = config
        stages = STAGES[config.size]
        widths = [stage.channels for stage in stages]
        self.sound = _ear(config)
        heard = self.sound.out_channels
        self.fold = _Fold()
        self.down = nn.ModuleList(
            NormedConv(before, after, stride=1 if i == 0 else 2)
            for i, (before, after) in enumerate(itertools.pairwise([6 * FOLD**2, *widths]))
        )
        self.encoder = nn.ModuleList(_Blocks(stage.encoder, stage.channels, 0, heard) for stage in stages)
        last = len(stages) - 1
        self.decoder = nn.ModuleList(
            _Blocks(stage.decoder, stage.channels, stage.decoder if i == last else 1, heard)
            for i, stage in enumerate(stages)
        )
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in itertools.pairwise(widths))
        self.draw = nn.Conv2d(widths[0], (3 + len(SHARES)) * FOLD**2, 3, padding=1)
        initialise_shuffled(self.draw, FOLD, FIRST_STROKES)
        self.flow = nn.Conv2d(widths[0], 4, 3, padding=1)
        for parameter in self.flow.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("drawn_share", _drawn_share(config.crop_px), persistent=False)
        self.register_buffer("still", _still(config.crop_px), persistent=False)
        self.register_buffer("first_shares", torch.tensor(FIRST_SHARES).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("finer", _finer(), persistent=False)
        self.drawn_share: Tensor
        self.still: Tensor
        self.first_shares: Tensor
        self.finer: Tensor

    def forward(self, face: Tensor, mel: Tensor) -> Tensor:
        """Draw.

        Args:
            face: float [N, 6, S, S] in [0, 1]: the same face with its mouth open, RGB, then the picture to change,
                its mouth shut.
            mel: float [N, 1, 80, T], as many columns as `config.window` has.

        Returns:
            float [N, 3, S, S] in [0, 1], RGB. Rows above the blend are the second picture's own.
        """
        return self.drawn(face, mel).picture

    def drawn(self, face: Tensor, mel: Tensor) -> Drawn:
        """As `forward`, and where each pixel of the drawn rows came from."""
        # Pictures are mixed in the precision of the places, also where the convolutions have half of it.
        identity, target = (picture.to(self.still.dtype) for picture in (face[:, :3], face[:, 3:]))
        first = self.config.crop_px - self.drawn_share.shape[2]
        features = self._features(face, self.sound(mel))
        strokes = _cells(self.draw(features).float(), 3 + len(SHARES)).transpose(1, 2)
        places = self._places(self.flow(features).to(self.still.dtype))
        moved = [_sampled(picture, places[i]) for i, picture in enumerate((target, identity))]
        shares = torch.softmax(strokes[:, 3:] + self.first_shares, dim=1)
        sources = (torch.sigmoid(strokes[:, :3]), *moved)
        painted: Tensor = sum(shares[:, i : i + 1] * source for i, source in enumerate(sources))  # type: ignore[assignment]
        known = target[:, :, first:]
        blended = known + self.drawn_share * (self._unfolded(painted) - known)
        return Drawn(
            torch.cat([target[:, :, :first], blended], dim=2),
            torch.stack([self._unfolded(each.permute(0, 3, 1, 2)) for each in places], dim=1),
            self._unfolded(shares),
        )

    def halved(self) -> Self:
        """Give the convolutions and the ear half precision, in place; where pixels come from keeps its own.

        Half of a coordinate in [-1, 1] is off by a tenth of a pixel.
        """
        exact = {name: getattr(self, name) for name in ("drawn_share", "still", "first_shares", "finer")}
        self.half()
        for name, buffer in exact.items():
            setattr(self, name, buffer)
        return self

    def _places(self, flow: Tensor) -> list[Tensor]:
        """Where the pixels of each cell come from, in either picture: [N, cells, FOLD * FOLD, 2] of [N, 4, h, w]."""
        unit = FLOW_CELLS * FOLD * 2 / self.config.crop_px
        # Half precision would be off by a pixel; the device "meta" knows no autocast.
        with torch.autocast("cpu" if flow.is_meta else flow.device.type, enabled=False):
            around = nn.functional.pad(flow * unit, (1, 1, 1, 1), mode="replicate")
            finer = [nn.functional.conv2d(around[:, i : i + 2], self.finer) for i in (0, 2)]
        return [_cells(each, FOLD**2) + self.still for each in finer]

    def _unfolded(self, cells: Tensor) -> Tensor:
        """Pixels of cells, [N, C, cells, FOLD * FOLD], in their places, [N, C, rows, S]."""
        columns = self.config.crop_px // FOLD
        rows = cells.shape[2] // columns
        split = cells.reshape(*cells.shape[:2], rows, columns, FOLD, FOLD)
        return split.transpose(3, 4).reshape(*cells.shape[:2], rows * FOLD, columns * FOLD)

    def _features(self, face: Tensor, sound: Tensor) -> Tensor:
        """Features [N, C, rows, S / 4] of the rows that are drawn."""
        x: Tensor = self.fold(face)
        levels: list[Tensor] = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            x = blocks(torch.relu(down(x)), sound)
            levels.append(x)
        x = self.decoder[-1](levels.pop(), sound)
        cut_above = 0
        for i in reversed(range(len(levels))):
            grid_rows = levels[i].shape[2]
            rows_above = grid_rows // 2 - (MARGIN_CELLS >> i)
            # A 1 x 1 convolution and repetition commute: the cheaper order, and no checkerboard can arise.
            finer = nn.functional.interpolate(self.up[i](x), scale_factor=2.0, mode="nearest")
            x = torch.relu(finer[:, :, rows_above - 2 * cut_above :] + levels[i][:, :, rows_above:])
            x = self.decoder[i](x, sound)
            cut_above = rows_above
        return x


def speech_window(look_ahead_ms: int) -> MelWindow:
    """The mel window of the ear that knows speech: half a second before the picture's time, and the look-ahead."""
    ahead = MelWindow.within(look_ahead_ms, SPEECH_PAST + 1).look_ahead
    return MelWindow(SPEECH_PAST + 1 + ahead, ahead)


def _ear(config: LipGanLiteConfig) -> Stack | SpeechEar:
    lipgan = LipGanConfig(width=config.width)
    if config.ear == "lipgan":
        return sound_encoder(lipgan)
    return SpeechEar(config.window.columns, config.window.past, lipgan.channels(512))


def initialise_shuffled(conv: nn.Conv2d, factor: int, gain: float) -> None:
    """Give the `factor` squared channels that become one pixel-shuffled channel the same weights.

    The first pictures are then free of a grid: each cell's pixels begin equal.

    Args:
        conv: The convolution before the shuffle; its bias becomes 0.
        factor: Of the shuffle.
        gain: Over the weights that the convolution came with.

    Source:
        ICNR, A. Aitken et al., arXiv:1707.02937.
    """
    with torch.no_grad():
        conv.weight.copy_(gain * conv.weight[:: factor**2].repeat_interleave(factor**2, dim=0))
        assert conv.bias is not None
        conv.bias.zero_()


def _cells(folded: Tensor, groups: int) -> Tensor:
    """Channels of each cell, [N, groups * C, h, w] to [N, h * w, groups, C]: no work where channels lie last."""
    return folded.permute(0, 2, 3, 1).reshape(folded.shape[0], -1, groups, folded.shape[1] // groups)


def _sampled(picture: Tensor, places: Tensor) -> Tensor:
    return nn.functional.grid_sample(picture, places, mode="bilinear", padding_mode="border", align_corners=False)


def _finer() -> Tensor:
    """Bilinear upsampling by `FOLD` as a convolution, [2 * FOLD * FOLD, 2, 3, 3]: x and y of each pixel of a cell."""
    offset = (torch.arange(FOLD) + 0.5) / FOLD - 0.5
    line = torch.stack([(-offset).clamp_min(0), 1 - offset.abs(), offset.clamp_min(0)], dim=1)
    return torch.einsum("pk,ql,xc->pqxckl", line, line, torch.eye(2)).reshape(-1, 2, 3, 3)


def _still(crop_px: int) -> Tensor:
    """The drawn pixels' own places, cell by cell, [1, cells, FOLD * FOLD, 2], as `grid_sample` takes them."""
    middle = (torch.arange(crop_px, dtype=torch.float32) + 0.5) * (2 / crop_px) - 1
    y, x = torch.meshgrid(middle[crop_px // 2 - MARGIN_CELLS * FOLD :], middle, indexing="ij")
    folded = nn.functional.pixel_unshuffle(torch.stack([x, y])[None], FOLD)
    return _cells(folded, 2).transpose(2, 3).contiguous()


def _drawn_share(crop_px: int) -> Tensor:
    """Share of the drawn picture in each row from the first drawn one on, [1, 1, rows, 1]: a ramp, then 1."""
    margin_px = MARGIN_CELLS * FOLD
    rows = torch.arange(crop_px // 2 + margin_px, dtype=torch.float32)
    return ((rows + 0.5) / margin_px).clamp_max(1).view(1, 1, -1, 1)
