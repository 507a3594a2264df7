"""The sync expert: do five pictures of a mouth belong to a fifth of a second of sound?

It learns from true pairs alone and is then frozen: a judge that is trained along learns what generated pictures look
like instead of what speech looks like (K R Prajwal et al., arXiv:2008.10010, table 3: five frames and no fine-tuning
on generated pictures tell 91.6 % of shifted pairs, one fine-tuned frame 55.6 %). The network is this project's own: its
similarities are of no other scale than its own and must not be compared with published sync scores.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from kernels.mel import BANDS, MelWindow
from models.checkpoint import NOTES, read_weights, write_weights
from models.engine import EngineError

RUN_FRAMES = 5
RUN_RATE_HZ = 25
SPAN = MelWindow(columns=17, look_ahead=8)
"""The sound of a run, about the time of its middle picture: 100 ms before to 100 ms after, as long as five pictures."""
READ_SIZE = (48, 96)
"""Height and width at which the lower half of a crop is read, whatever the crop's own."""
EMBEDDING = 128
_GROUPS = 8
_FAMILY = "sync_expert"


@dataclass(frozen=True, slots=True)
class SyncExpertConfig:
    """Which expert.

    Attributes:
        width: Channels of the first layers, a multiple of 8; the others have 2, 4 and 6 times as many.
    """

    width: int = 24

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: A width that is no multiple of 8.
        """
        config = cls(int(values["width"]))
        if config.width < _GROUPS or config.width % _GROUPS:
            raise ValueError(f"the sync expert's width must be a multiple of {_GROUPS}, found {config.width}")
        return config


class SyncExpert(nn.Module):
    """Puts runs of pictures and spans of sound into one space of unit vectors.

    One encoder looks at each picture by itself, so that a clip of T pictures costs T looks and not 5 T; a second,
    small one joins what was seen in five neighbours.
    """

    def __init__(self, config: SyncExpertConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * factor for factor in (1, 2, 4, 6)]
        self.look = nn.Sequential(
            *_conv(3, widths[0], 5, (2, 2)),
            *(each for a, b in itertools.pairwise(widths) for each in _conv(a, b, 3, (2, 2))),
            nn.Flatten(),
            nn.Linear(widths[3] * (READ_SIZE[0] // 16) * (READ_SIZE[1] // 16), EMBEDDING),
        )
        self.join = nn.Sequential(
            nn.ReLU(), nn.Linear(RUN_FRAMES * EMBEDDING, 2 * EMBEDDING), nn.ReLU(), nn.Linear(2 * EMBEDDING, EMBEDDING)
        )
        strides = ((2, 1), (2, 2), (2, 2), (2, 1))
        channels = [1, *widths]
        rows = zip(channels, widths, strides, strict=False)
        self.listen = nn.Sequential(
            *(each for a, b, stride in rows for each in _conv(a, b, 3, stride)),
            nn.Flatten(),
            nn.Linear(widths[3] * (BANDS // 16) * -(-SPAN.columns // 4), 2 * EMBEDDING),
            nn.ReLU(),
            nn.Linear(2 * EMBEDDING, EMBEDDING),
        )

    def seen(self, lower: Tensor) -> Tensor:
        """What each picture shows: lower halves, float [N, 3, 48, 96] in [0, 1], to [N, 128]."""
        features: Tensor = self.look(lower - 0.5)
        return features

    def embed_runs(self, seen: Tensor) -> Tensor:
        """What five pictures show one after the other, [N, 5, 128], to unit vectors [N, 128]."""
        return nn.functional.normalize(self.join(seen.flatten(1)).float(), dim=1)

    def heard(self, mel: Tensor) -> Tensor:
        """What a span of sound holds, [N, 1, 80, 17], to [N, 128]."""
        features: Tensor = self.listen(mel / 4)
        return features

    def embed_sound(self, mel: Tensor) -> Tensor:
        """Spans of sound, [N, 1, 80, 17], to unit vectors [N, 128]."""
        return nn.functional.normalize(self.heard(mel).float(), dim=1)

    def forward(self, pictures: Tensor, mel: Tensor) -> Tensor:
        """Similarity of pictures and sound.

        Args:
            pictures: float RGB [N, 5, 3, S, S] in [0, 1], the product's crops at 25 pictures a second.
            mel: float [N, 1, 80, 17], `SPAN` about the middle picture's time.

        Returns:
            float [N] in [-1, 1], cosine of the two embeddings.
        """
        seen = self.seen(lower_half(pictures.flatten(0, 1)))
        return (self.embed_runs(seen.view(*pictures.shape[:2], -1)) * self.embed_sound(mel)).sum(1)


def lower_half(pictures: Tensor) -> Tensor:
    """The half of a crop that speaks, area-averaged: float [N, 3, S, S] to [N, 3, 48, 96]."""
    return nn.functional.adaptive_avg_pool2d(pictures[:, :, pictures.shape[2] // 2 :], READ_SIZE)


def expert_loss(expert: SyncExpert, pictures: Tensor, mel: Tensor) -> Tensor:
    """How far pictures are from the sound that they should speak: mean of 1 - similarity, 0 to 2.

    Args:
        expert: Frozen, in eval mode; gradients flow through it to the pictures.
        pictures: float RGB [N, 5, 3, S, S] in [0, 1].
        mel: float [N, 1, 80, 17], `SPAN` about the middle picture's time.
    """
    similarity: Tensor = expert(pictures, mel)
    return 1 - similarity.mean()


def save_expert(path: Path, expert: SyncExpert, notes: Mapping[str, Any]) -> None:
    """Write an expert in half precision, whole or not at all; `notes` are JSON values that travel with it."""
    header = {_FAMILY: json.dumps(expert.config.as_dict()), NOTES: json.dumps(dict(notes))}
    write_weights(path, expert.state_dict(), header)


def load_expert(path: Path) -> SyncExpert:
    """Rebuild an expert in float32: in eval mode, its weights frozen.

    Raises:
        EngineError: The file is missing, damaged, or belongs to another network.
    """
    header, tensors = read_weights(path)
    if _FAMILY not in header:
        raise EngineError(f"{path} holds no sync expert. Train one: python -m training expert")
    try:
        expert = SyncExpert(SyncExpertConfig.from_dict(json.loads(header[_FAMILY])))
        expert.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (ValueError, KeyError, RuntimeError) as error:
        raise EngineError(f"{path} does not fit its own header: {error}. Train or export it again") from None
    return expert.requires_grad_(requires_grad=False).eval()


def _conv(channels: int, out: int, kernel: int, stride: tuple[int, int]) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2), nn.GroupNorm(_GROUPS, out), nn.ReLU()
