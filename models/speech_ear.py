"""An ear that knows speech: the first layers of a speech recogniser, on the mel columns that lips are driven by.

A recogniser has heard hundreds of thousands of hours of strangers; a lip-sync corpus that may be used has an hour. What
two of its layers make of two thirds of a second tells the mouth of voices never heard before better than an encoder
trained on that hour alone (`models/weights/lipgan_lite/card.md` has figures). The layers are those of Whisper's
encoder; its own spectrogram is approximated from LipGAN's, so that one stream of columns serves every generator, and
`training.ear` takes out what error is left.

Source: A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356, section 2.2
(openai/whisper, MIT); a recogniser's features for lips: Y. Zhang et al., "MuseTalk", arXiv:2410.10122.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.mel import BANDS, COLUMN_NS, MAX_ABS, MIN_LEVEL_DB, PRE_EMPHASIS, REFERENCE_DB, SAMPLE_RATE_HZ, mel_filters

CHANNELS = 384
HEADS = 6
FRAME_NS = 10_000_000
"""One column of the recogniser's spectrogram; a token is two of them."""
POSITIONS = 1500
LAYERS = 2
TOKENS_SEEN = (-4, -2, 0, 2, 4)
"""Of these tokens, 20 ms each, about the picture's time is the mouth told."""
# The recogniser forgets what is so far, in powers of ten, below the loudest.
RANGE = 8.0


class _Layer(nn.Module):
    """Self-attention and a feed-forward network, each behind a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(CHANNELS)
        self.query = nn.Linear(CHANNELS, CHANNELS)
        self.key_value = nn.Linear(CHANNELS, 2 * CHANNELS)
        self.attended = nn.Linear(CHANNELS, CHANNELS)
        self.before_feed = nn.LayerNorm(CHANNELS)
        self.widen = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.narrow = nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, x: Tensor, wanted: list[int] | None) -> Tensor:
        """Tokens [N, T, C] to the wanted ones of them, [N, K, C]; None wants all."""
        normed = self.before_attention(x)
        kept, asked = (x, normed) if wanted is None else (x[:, wanted], normed[:, wanted])
        key, value = self.key_value(normed).chunk(2, dim=-1)
        heads = [each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.query(asked), key, value)]
        attended = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        kept = kept + self.attended(attended.transpose(1, 2).flatten(2))
        fed: Tensor = kept + self.narrow(nn.functional.gelu(self.widen(self.before_feed(kept))))
        return fed


def _convolved(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """`conv` of three taps over tokens, [N, T, C], as one product: a processor does it in half the time."""
    padded = nn.functional.pad(x, (0, 0, 1, 1))
    step = conv.stride[0]
    count = (x.shape[1] - 1) // step + 1
    taps = torch.cat([padded[:, i : i + step * (count - 1) + 1 : step] for i in range(3)], dim=2)
    return nn.functional.linear(taps, conv.weight.transpose(1, 2).flatten(1), conv.bias)


class SpeechLayers(nn.Module):
    """A recogniser's encoder, or its beginning.

    Args:
        layers: How many.
        positions: Tokens that it has a place for.
    """

    def __init__(self, layers: int = LAYERS, positions: int = POSITIONS) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, CHANNELS, 3, padding=1)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(positions, CHANNELS))
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))

    def forward(self, spectrogram: Tensor, wanted: list[int] | None = None) -> Tensor:
        """Tokens of a sound.

        Args:
            spectrogram: float [N, 80, M], the recogniser's own.
            wanted: Tokens asked for; None asks for all.

        Returns:
            float [N, K, 384].
        """
        x = nn.functional.gelu(_convolved(self.first, spectrogram.transpose(1, 2)))
        x = nn.functional.gelu(_convolved(self.second, x))
        x = x + self.positions[: x.shape[1]]
        for i, layer in enumerate(self.layers):
            x = layer(x, wanted if i == len(self.layers) - 1 else None)
        return x


class SpeechEar(nn.Module):
    """What is said about a picture's time, as a vector.

    Args:
        columns: Mel columns of the window.
        past: How many of them lie before the picture's own.
        out_channels: Length of the vector.
    """

    def __init__(self, columns: int, past: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        times, own = _frame_times(columns, past)
        self.layers = SpeechLayers(positions=(len(times) + 1) // 2)
        self.embed = nn.Linear(len(TOKENS_SEEN) * CHANNELS, out_channels)
        # The last tokens seen lie beyond a short look-ahead: then the newest one stands for them.
        last = (len(times) - 1) // 2
        self._wanted = [min(own // 2 + each, last) for each in TOKENS_SEEN]
        self.register_buffer("bands", torch.from_numpy(_band_map()), persistent=False)
        self.register_buffer("lift", torch.from_numpy(_lift()), persistent=False)
        self.register_buffer("times", torch.from_numpy(_interpolation(columns, past, times)), persistent=False)
        self.bands: Tensor
        self.lift: Tensor
        self.times: Tensor

    def forward(self, mel: Tensor) -> Tensor:
        """Mel windows [N, 1, 80, columns] to [N, out_channels, 1, 1], none below 0."""
        vector: Tensor = torch.relu(self.embed(self.heard(mel)))
        return vector[..., None, None]

    def heard(self, mel: Tensor) -> Tensor:
        """What the layers make of mel windows, float [N, 5 x 384]."""
        powers = recogniser_powers(mel[:, 0], self.bands, self.lift)
        tokens: Tensor = self.layers(scaled(powers) @ self.times, self._wanted)
        return tokens.flatten(1)


def recogniser_powers(mel: Tensor, bands: Tensor, lift: Tensor) -> Tensor:
    """Logarithms of the recogniser's band powers from LipGAN's mel columns, [N, 80, T] each, at LipGAN's rate."""
    decibels = (bands @ mel + MAX_ABS) * (-MIN_LEVEL_DB / (2 * MAX_ABS)) + MIN_LEVEL_DB + REFERENCE_DB
    return decibels / 10 + lift[:, None]


def scaled(powers: Tensor) -> Tensor:
    """As the recogniser takes them: nothing far below the loudest, then about -1 to 1; [N, 80, T]."""
    floor = powers.amax((1, 2), keepdim=True) - RANGE
    return (torch.maximum(powers, floor) + 4) / 4


def whole(mel: NDArray[np.float32]) -> Tensor:
    """The recogniser's spectrogram [1, 80, M] of a whole sound's mel columns [80, T]; frame m is at m x 10 ms."""
    columns = mel.shape[1]
    times = np.arange(0, (columns - 1) * COLUMN_NS + 1, FRAME_NS)
    powers = recogniser_powers(
        torch.from_numpy(np.ascontiguousarray(mel))[None], torch.from_numpy(_band_map()), torch.from_numpy(_lift())
    )
    return scaled(powers) @ torch.from_numpy(_interpolation(columns, 0, times))


def _frame_times(columns: int, past: int) -> tuple[NDArray[np.int64], int]:
    """Times of the frames about the picture's, and which one is the picture's own: an even one, which a token is at."""
    own = past * COLUMN_NS // (2 * FRAME_NS) * 2
    ahead = (columns - 1 - past) * COLUMN_NS // FRAME_NS
    return np.arange(-own, ahead + 1) * FRAME_NS, own


def _interpolation(columns: int, past: int, times: NDArray[np.int64]) -> NDArray[np.float32]:
    """Matrix [columns, frames] that reads columns at times relative to one of them."""
    at = times / COLUMN_NS + past
    return np.array(_between(at, columns).T, np.float32)


def _between(at: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """Matrix [len(at), count] that interpolates between neighbours."""
    left = np.clip(at.astype(int), 0, count - 2)
    matrix = np.zeros((len(at), count), np.float32)
    rows = np.arange(len(at))
    part = np.clip(at - left, 0, 1)
    matrix[rows, left] = 1 - part
    matrix[rows, left + 1] = part
    return matrix


def _band_map() -> NDArray[np.float32]:
    """Matrix [80, 80] that reads LipGAN's bands at the middles of the recogniser's."""
    filters = mel_filters()
    middles = (filters @ np.linspace(0, SAMPLE_RATE_HZ / 2, filters.shape[1])) / filters.sum(1)
    return _between(np.interp(_recogniser_middles_hz(), middles, np.arange(BANDS)), BANDS)


def _lift() -> NDArray[np.float32]:
    """What LipGAN's pre-emphasis took from each of the recogniser's bands, in powers of ten, [80]."""
    angle = 2 * np.pi * _recogniser_middles_hz() / SAMPLE_RATE_HZ
    return np.asarray(-2 * np.log10(np.abs(1 - PRE_EMPHASIS * np.exp(-1j * angle))), np.float32)


def _recogniser_middles_hz() -> NDArray[np.float64]:
    """Slaney's mel scale from 0 to 8 kHz: linear to 1 kHz, then 27 steps for each factor of 6.4."""
    step_hz, knee_hz, step = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee_hz / step_hz + np.log(SAMPLE_RATE_HZ / 2 / knee_hz) / step
    mel = np.linspace(0, top, BANDS + 2)[1:-1]
    above = knee_hz * np.exp(step * (mel - knee_hz / step_hz))
    return np.asarray(np.where(mel < knee_hz / step_hz, mel * step_hz, above))
