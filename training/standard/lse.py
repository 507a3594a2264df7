"""LSE-D and LSE-C: distance of lips and sound in SyncNet's space at the best of 31 shifts, and how much better it is.

Pictures are whole face-centred frames scaled to 224 px, as Wav2Lip's evaluation on LRS clips has it; no face tracker
crops them again. Both scores take the best shift, so neither sees a constant offset.

Source: J. S. Chung, A. Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016; names, sizes and
steps of joonson/syncnet_python (`SyncNetModel.py`, `SyncNetInstance.py`) and of Wav2Lip's `evaluation/scores_LSE`; MFCC
of python_speech_features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.mel import SAMPLE_RATE_HZ
from training.config import ConfigError
from training.standard.weights import Published, read_published

# The authors publish no hash; the names and shapes of all tensors must fit.
SYNCNET = Published("syncnet_v2.model", "", "https://www.robots.ox.ac.uk/~vgg/software/lipsync")
PICTURE_PX = 224
RATE_HZ = 25
RUN_FRAMES = 5
COLUMNS_PER_FRAME, RUN_COLUMNS = 4, 20
SHIFTS = 15
EMBEDDING = 1024
BATCH = 16

WINDOW, STEP, FFT = 400, 160, 512
FILTERS, COEFFICIENTS, LIFTER = 26, 13, 22
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_767.0

Floats = NDArray[np.floating[Any]]


class SyncNet(nn.Module):
    """Puts five pictures and a fifth of a second of MFCC into one space of 1,024 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3, 1), nn.MaxPool2d(1), *_flat(64, 192, 3, 1), nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3, 1), *_flat(384, 256, 3, 1), *_flat(256, 256, 3, 1), nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4), 0),
        )  # fmt: skip
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), 2, 0), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), 2, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3), 1, 1), *_deep(256, 256, (1, 3, 3), 1, 1), *_deep(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)), *_deep(256, 512, (1, 6, 6), 1, 0),
        )  # fmt: skip
        self.netfcaud, self.netfclip = _head(), _head()

    def lips(self, runs: Tensor) -> Tensor:
        """Pictures [N, 3, 5, 224, 224], BGR in 0..255, to [N, 1024]."""
        found: Tensor = self.netfclip(self.netcnnlip(runs).flatten(1))
        return found

    def sound(self, columns: Tensor) -> Tensor:
        """MFCC [N, 1, 13, 20] to [N, 1024]."""
        found: Tensor = self.netfcaud(self.netcnnaud(columns).flatten(1))
        return found


def _flat(before: int, after: int, kernel: int | tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, kernel, 1, padding), nn.BatchNorm2d(after), nn.ReLU()


def _deep(before: int, after: int, kernel: tuple[int, int, int], stride: int, padding: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(before, after, kernel, (1, stride, stride), (0, padding, padding))
    return conv, nn.BatchNorm3d(after), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


def load_syncnet(path: Path) -> SyncNet:
    """The standard's network.

    Raises:
        ConfigError: The file is missing, or holds another network.
    """
    network = SyncNet()
    try:
        network.load_state_dict(read_published(path, SYNCNET))
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"{path} is not {SYNCNET.name} ({reason}); get it from {SYNCNET.origin}") from None
    return network.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def sync_distances(network: SyncNet, pictures: NDArray[np.uint8], samples: NDArray[np.float32]) -> Floats:
    """Distance of each run of five pictures to the sound at each shift.

    Args:
        network: The standard's.
        pictures: uint8 RGB [T, H, W, 3], 25 a second.
        samples: float32 [n] at 16 kHz in [-1, 1], beginning with the first picture.

    Returns:
        [runs, 31], shifts of -15 to 15 pictures; beyond the ends the sound's embedding is 0, as it is published.
    """
    columns = mfcc(np.rint(samples * FULL_SCALE))
    runs = min(len(pictures), len(samples) * RATE_HZ // SAMPLE_RATE_HZ) - RUN_FRAMES
    runs = min(runs, (columns.shape[1] - RUN_COLUMNS) // COLUMNS_PER_FRAME + 1)
    if runs <= 0:
        return np.zeros((0, 2 * SHIFTS + 1))
    size = (PICTURE_PX, PICTURE_PX)
    bgr = np.stack([cv2.resize(each, size)[..., ::-1] for each in pictures[: runs + RUN_FRAMES]])
    seen = torch.from_numpy(bgr.transpose(3, 0, 1, 2).copy())
    heard = torch.from_numpy(columns.astype(np.float32))[None, None]
    lips, sound = [], []
    for first in range(0, runs, BATCH):
        batch = range(first, min(first + BATCH, runs))
        lips.append(network.lips(torch.stack([seen[:, at : at + RUN_FRAMES] for at in batch]).float()))
        starts = (COLUMNS_PER_FRAME * at for at in batch)
        sound.append(network.sound(torch.cat([heard[..., at : at + RUN_COLUMNS] for at in starts])))
    padded = nn.functional.pad(torch.cat(sound), (0, 0, SHIFTS, SHIFTS))
    windows = padded.unfold(0, 2 * SHIFTS + 1, 1).transpose(1, 2)
    return np.asarray(nn.functional.pairwise_distance(torch.cat(lips)[:, None], windows).numpy())


def lse_d(distances: Floats) -> Floats:
    """Mean distances [..., 31] to the smallest [...]; lower is better."""
    return np.asarray(distances.min(-1))


def lse_c(distances: Floats) -> Floats:
    """Mean distances [..., 31] to how far the smallest is below the median [...]; higher is better."""
    return np.asarray(np.median(distances, axis=-1) - distances.min(-1))


def mfcc(samples: Floats) -> Floats:
    """Cepstral coefficients of 16-bit samples; float64 [13, columns], 100 a second, the first at sample 0."""
    emphasised = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
    count = 1 + max(0, -(-(len(emphasised) - WINDOW) // STEP))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * STEP + WINDOW - len(emphasised))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP][:count]
    power = np.abs(scipy.fft.rfft(frames, FFT, axis=1)) ** 2 / FFT
    bands = power @ _filters().T
    tiny = np.finfo(np.float64).eps
    cepstra = scipy.fft.dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstra = cepstra * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER))
    energy = power.sum(1)
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return np.asarray(cepstra.T)


def _filters() -> Floats:
    """Triangles [26, 257] between whole bins, even on the mel scale from 0 Hz to 8 kHz."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * edges_hz / SAMPLE_RATE_HZ)
    bins = np.arange(FFT // 2 + 1)
    low, middle, high = (edges[at : at + FILTERS, None] for at in range(3))
    rising = np.where((bins >= low) & (bins < middle), (bins - low) / (middle - low), 0)
    falling = np.where((bins >= middle) & (bins < high), (high - bins) / (high - middle), 0)
    return np.asarray(rising + falling)
