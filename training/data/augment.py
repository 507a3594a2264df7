"""Changes to pictures and mel windows that must not change what the lips do.

Everything draws from a generator that the caller passes, so that a batch is a function of its number.
Mel windows are changed in the mel domain itself: one mel unit is 12.5 dB of amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy.signal
from numpy.typing import NDArray

from kernels.mel import BANDS, COLUMN_NS, MAX_ABS, NS_PER_S, SILENCE, MelWindow, mel_filters

Picture = NDArray[np.uint8]
Mel = NDArray[np.floating[Any]]

# Room for a tempo change of a tenth on both sides of a window, in columns.
TEMPO_COLUMNS = 3
MEL_UNITS_PER_DB = 2 * MAX_ABS / 100.0
_FILTERS = mel_filters()
_CENTRES_HZ = (_FILTERS @ np.linspace(0, 8000, _FILTERS.shape[1])) / _FILTERS.sum(1)


@dataclass(frozen=True, slots=True)
class Look:
    """One draw of camera and framing, applied alike to identity and target.

    Attributes:
        flip: Mirror left and right.
        angle_deg: Turn about the middle.
        scale: Zoom.
        shift_px: x, y.
        gains: Per channel, RGB.
        gamma: Exponent of the tone curve.
        grey: Share of colour taken away, 0 to 1.
        blur_px: Deviation of a Gaussian; 0 is none.
        jpeg_quality: 0 is none.
    """

    flip: bool = False
    angle_deg: float = 0.0
    scale: float = 1.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    grey: float = 0.0
    blur_px: float = 0.0
    jpeg_quality: int = 0


def draw_look(rng: np.random.Generator) -> Look:
    """A random camera; half of the draws leave sharpness alone."""
    exposure = rng.uniform(0.8, 1.2)
    gains = exposure * rng.uniform(0.92, 1.08, 3)
    return Look(
        flip=bool(rng.random() < 0.5),
        angle_deg=float(rng.normal(0, 2.5)),
        scale=float(rng.uniform(0.95, 1.06)),
        shift_px=(float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3))),
        gains=(float(gains[0]), float(gains[1]), float(gains[2])),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        grey=float(rng.uniform(0, 1)) if rng.random() < 0.15 else 0.0,
        blur_px=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0,
        jpeg_quality=int(rng.integers(35, 90)) if rng.random() < 0.15 else 0,
    )


def jitter(look: Look, rng: np.random.Generator) -> Look:
    """The same camera a moment later: the head has moved a little."""
    x, y = look.shift_px
    return Look(
        look.flip,
        look.angle_deg + float(rng.normal(0, 0.7)),
        look.scale * float(np.exp(rng.normal(0, 0.008))),
        (x + float(rng.normal(0, 0.5)), y + float(rng.normal(0, 0.5))),
        look.gains,
        look.gamma,
        look.grey,
        look.blur_px,
        look.jpeg_quality,
    )


def apply_look(picture: Picture, look: Look, size: int) -> Picture:
    """Frame and colour a cached crop.

    Args:
        picture: uint8 RGB [M, M, 3] with a margin around the product's crop.
        look: What to apply; `Look()` cuts out the product's own crop untouched.
        size: Side of the result.
    """
    framed = _frame(picture, look, size)
    if look.blur_px:
        framed = cv2.GaussianBlur(framed, (5, 5), look.blur_px)
    if look.gamma != 1.0 or look.gains != (1.0, 1.0, 1.0):
        framed = _tone(framed, look)
    if look.grey:
        grey = cv2.cvtColor(framed, cv2.COLOR_RGB2GRAY)[..., None]
        framed = cv2.addWeighted(framed, 1 - look.grey, np.repeat(grey, 3, 2), look.grey, 0)
    if look.jpeg_quality:
        coded = cv2.imencode(".jpg", framed, [cv2.IMWRITE_JPEG_QUALITY, look.jpeg_quality])[1]
        framed = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(framed, np.uint8)


def _frame(picture: Picture, look: Look, size: int) -> Picture:
    margin = (picture.shape[0] - size) // 2
    if not look.flip and look.angle_deg == 0 and look.scale == 1 and look.shift_px == (0.0, 0.0):
        return picture[margin : margin + size, margin : margin + size]
    middle = (picture.shape[0] - 1) / 2
    to_cached = cv2.getRotationMatrix2D((middle, middle), look.angle_deg, 1 / look.scale)
    to_cached[:, 2] += to_cached[:, :2] @ (np.array([margin, margin]) - np.array(look.shift_px))
    if look.flip:
        to_cached[:, 2] += to_cached[:, 0] * (size - 1)
        to_cached[:, 0] *= -1
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(picture, to_cached, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _tone(picture: Picture, look: Look) -> Picture:
    curve = np.linspace(0, 1, 256) ** look.gamma
    table = np.clip(255 * curve[:, None] * np.array(look.gains), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[:, None, :]), np.uint8)


def roomy(window: MelWindow) -> MelWindow:
    """The wider window that `augment_mel` takes to give this one."""
    return MelWindow(window.columns + 2 * TEMPO_COLUMNS, window.look_ahead + TEMPO_COLUMNS)


def augment_mel(wide: Mel, window: MelWindow, loud: float, rng: np.random.Generator) -> Mel:
    """Another voice, microphone and room saying the same.

    Args:
        wide: float32 [80, W], the window with as many columns more before as after it, so that the tempo can change.
        window: Which columns of a result belong to the picture.
        loud: The clip's level where it is loud, in mel units; noise is set below it.
        rng: Source of the draw.

    Returns:
        float32 [80, columns] in [-4, 4].
    """
    mel = _tempo(wide, window, rng.uniform(0.9, 1.1) if rng.random() < 0.5 else 1.0)
    if rng.random() < 0.8:
        mel = _formant_shift(mel, float(np.exp(rng.normal(0, 0.09))))
    if rng.random() < 0.35:
        mel = _reverberate(mel, rng.uniform(0.15, 0.7), rng.uniform(-3, 12))
    gain_db = rng.uniform(-12, 6)
    if rng.random() < 0.7:
        mel = mel + _equaliser_db(rng)[:, None] * MEL_UNITS_PER_DB
    if rng.random() < 0.4:
        mel = _add_noise(mel, loud - rng.uniform(8, 40) * MEL_UNITS_PER_DB, rng)
    mel = mel + gain_db * MEL_UNITS_PER_DB + rng.normal(0, 0.08, mel.shape)
    return _mask(np.clip(mel, -MAX_ABS, MAX_ABS).astype(np.float32), rng)


def silence_mel(columns: int, rng: np.random.Generator) -> Mel:
    """Digital silence, or room noise of some colour and level well below speech; float32 [80, columns]."""
    if rng.random() < 0.25:
        return np.full((BANDS, columns), SILENCE, np.float32)
    level = rng.uniform(SILENCE, -0.8)
    noise = _add_noise(np.full((BANDS, columns), SILENCE, np.float32), level, rng)
    return np.clip(noise, -MAX_ABS, MAX_ABS).astype(np.float32)


def _tempo(wide: Mel, window: MelWindow, rate: float) -> Mel:
    """Faster or slower about the picture's own time."""
    margin = (wide.shape[1] - window.columns) // 2
    if rate == 1.0:
        return wide[:, margin : margin + window.columns]
    at = margin + window.past + (np.arange(window.columns) - window.past) * rate
    left = np.clip(np.floor(at).astype(int), 0, wide.shape[1] - 2)
    part = (at - left).astype(np.float32)
    return np.asarray(wide[:, left] * (1 - part) + wide[:, left + 1] * part)


def _formant_shift(mel: Mel, factor: float) -> Mel:
    source_hz = np.clip(_CENTRES_HZ * factor, _CENTRES_HZ[0], _CENTRES_HZ[-1])
    at = np.interp(source_hz, _CENTRES_HZ, np.arange(BANDS))
    low = np.minimum(at.astype(int), BANDS - 2)
    part = (at - low).astype(np.float32)[:, None]
    return np.asarray(mel[low] * (1 - part) + mel[low + 1] * part)


def _equaliser_db(rng: np.random.Generator) -> NDArray[np.float64]:
    knots_db = rng.normal(0, 4, 6) + rng.uniform(-5, 5) * np.linspace(-1, 1, 6)
    return np.interp(np.arange(BANDS), np.linspace(0, BANDS - 1, 6), knots_db)


def _reverberate(mel: Mel, t60_s: float, direct_db: float) -> Mel:
    """Add a room's tail: power that falls by 60 dB in `t60_s`, together `direct_db` below the direct sound."""
    keep = 10 ** (-6 * COLUMN_NS / NS_PER_S / t60_s)
    power = 10 ** (mel / MEL_UNITS_PER_DB / 10)
    tail = scipy.signal.lfilter([0, 1 - keep], [1, -keep], power, axis=1)
    return np.asarray(10 * MEL_UNITS_PER_DB * np.log10(power + tail * 10 ** (-direct_db / 10)), np.float32)


def _add_noise(mel: Mel, level: float, rng: np.random.Generator) -> Mel:
    """Add noise power at `level` (mel units), coloured, with the scatter of short-time spectra."""
    colour_db = _equaliser_db(rng)[:, None]
    scatter_db = 10 * np.log10(rng.gamma(6.0, 1 / 6.0, mel.shape))
    noise = level + (colour_db + scatter_db) * MEL_UNITS_PER_DB
    to_log = np.log(10) / 10 / MEL_UNITS_PER_DB
    return np.asarray(np.logaddexp(mel * to_log, noise * to_log) / to_log, np.float32)


def _mask(mel: Mel, rng: np.random.Generator) -> Mel:
    if rng.random() < 0.3:
        first = rng.integers(0, BANDS - 10)
        mel[first : first + rng.integers(3, 11)] = mel.min()
    if rng.random() < 0.2:
        first = rng.integers(0, mel.shape[1] - 4)
        mel[:, first : first + rng.integers(1, 4)] = mel.min()
    return mel
