"""Named ways to make a pair, what a filter is shown and what it should draw, out of a photo alone.

A maker has two halves. `once` runs once for each photo: it draws what does not change (a sketch, a painting, lines).
`again` runs for every sample: it spoils what the filter is shown. What decides how a picture is spoilt comes from one
random source and its grain from another, so that two neighbouring pictures of a film can be spoilt alike, but not by
the same noise.

Source: pencil: dodging and burning, a photo over its blurred negative; flat colours: D. Comaniciu, P. Meer, "Mean
shift", PAMI 24 (2002), in OpenCV; blocks: RFC 6386 section 14 (VP8's 4 x 4 transform).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.lines import line_drawing
from training.config import ConfigError

Rgb = NDArray[np.uint8]
"""uint8 [H, W, 3]."""
Random = np.random.Generator

_DCT4 = np.array(
    [[np.sqrt((1 if k == 0 else 2) / 4) * np.cos(np.pi * (2 * i + 1) * k / 8) for i in range(4)] for k in range(4)],
    np.float32,
)


class Pair(NamedTuple):
    """One sample of the same size on both sides."""

    source: Rgb
    target: Rgb


class PairMaker(NamedTuple):
    """See the module.

    Attributes:
        about: One line.
        once: A photo to a pair.
        again: A source to what the filter is shown; the first random source decides how, the second is the grain.
    """

    about: str
    once: Callable[[Rgb], Pair]
    again: Callable[[Rgb, Random, Random], Rgb]


def maker_named(name: str) -> PairMaker:
    """Find a maker.

    Raises:
        ConfigError: There is none of that name; the message lists those that there are.
    """
    try:
        return PAIR_MAKERS[name]
    except KeyError:
        raise ConfigError(f"no pair maker {name!r}; there are {', '.join(PAIR_MAKERS)}") from None


# -- what is drawn once for each photo ----------------------------------------------------------------


def same(photo: Rgb) -> Pair:
    """The photo is what should be drawn."""
    return Pair(photo, photo)


def sketched(photo: Rgb) -> Pair:
    """A pencil drawing of the photo: shades by dodging and burning, strokes by XDoG."""
    grey = _grey(photo).astype(np.float32)
    blurred = cv2.GaussianBlur(255.0 - grey, (0, 0), 0.03 * min(grey.shape))
    shades = np.clip(grey * 255.0 / np.maximum(255.0 - blurred, 1.0), 0.0, 255.0)
    paper = 255.0 * (shades / 255.0) ** 1.6
    drawn = np.minimum(paper, 255.0 * (0.25 + 0.75 * line_drawing(photo)))
    return Pair(photo, _three(np.clip(drawn, 0.0, 255.0)))


def painted(photo: Rgb) -> Pair:
    """A painting of the photo: flat patches of stronger colours with soft dark outlines."""
    flat = cv2.pyrMeanShiftFiltering(photo, sp=9, sr=22, maxLevel=1)
    hsv = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.minimum(hsv[..., 1] * 1.35, 255.0)
    hsv[..., 2] = np.minimum(hsv[..., 2] * 1.06 + 6.0, 255.0)
    colours = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    colours = cv2.bilateralFilter(colours, 5, 18.0, 3.0)
    outlined = colours * (0.45 + 0.55 * line_drawing(photo))[..., None]
    return Pair(photo, np.clip(outlined, 0.0, 255.0).astype(np.uint8))


def lines_of(photo: Rgb) -> Pair:
    """Dark lines on white paper; the photo is what should be drawn."""
    return Pair(_three(255.0 * line_drawing(photo)), photo)


# -- what is spoilt for every sample ------------------------------------------------------------------


def unchanged(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """Nothing; for pairs from a folder."""
    del how, grain
    return picture


def as_by_a_camera(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """A little light, colour and grain, so that a filter draws the same where a camera sees almost the same."""
    gains = how.uniform(0.85, 1.12) * np.exp(how.normal(0.0, 0.03, 3))
    return _levels(_grained(picture.astype(np.float32) * gains.astype(np.float32), how.uniform(0.0, 5.0), grain))


def degraded(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """A poor camera and a poor line: blur, few pixels, grain, the blocks of a codec."""
    shown = picture.astype(np.float32)
    if how.random() < 0.5:
        shown = cv2.GaussianBlur(shown, (0, 0), how.uniform(0.3, 1.1))
    fewer, strength = how.uniform(1.0, 2.2), how.uniform(1.0, 12.0)
    small = how.random() < 0.5
    codec, quality, step = how.random(), int(how.integers(25, 85)), how.uniform(6.0, 34.0)
    if small:
        height, width = picture.shape[:2]
        size = max(int(width / fewer), 1), max(int(height / fewer), 1)
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    shown = _grained(shown, strength, grain)
    if small:
        shown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)
    if codec < 0.45:
        return jpeg(_levels(shown), quality)
    return blocks_of_four(_levels(shown), step) if codec < 0.8 else _levels(shown)


def darkened(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """A dark room: few photons, a lamp's colour, light from one side, dark corners."""
    light = (picture.astype(np.float32) / 255.0) ** 2.2
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle, slope = how.uniform(0.0, 2 * np.pi), how.uniform(0.0, 0.45)
    side = 1.0 + slope * (np.cos(angle) * x + np.sin(angle) * y)
    corners = 1.0 - how.uniform(0.0, 0.35) * np.clip(x**2 + y**2, 0.0, 1.5) / 1.5
    cast = np.exp(how.normal(0.0, 0.12, 3)).astype(np.float32)
    exposure = np.exp(how.uniform(np.log(0.08), np.log(0.9)))
    seen = np.clip(light * (exposure * side * corners)[..., None] * cast, 0.0, 1.0)
    shot, read = how.uniform(0.0, 0.012), how.uniform(0.0, 0.004)
    noisy = seen + grain.normal(0.0, 1.0, seen.shape).astype(np.float32) * np.sqrt(seen * shot**1.5 + read**2)
    curve = 1.0 / how.uniform(1.9, 2.4)
    return _levels(255.0 * np.clip(noisy, 0.0, 1.0) ** curve)


def uncoloured(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """Black and white, with the contrast and the grain of some camera."""
    contrast, brightness = how.uniform(0.85, 1.15), how.uniform(-14.0, 14.0)
    grey = (_grey(picture).astype(np.float32) - 128.0) * contrast + 128.0 + brightness
    return _three(np.clip(_grained(grey, how.uniform(0.0, 4.0), grain), 0.0, 255.0))


def redrawn(picture: Rgb, how: Random, grain: Random) -> Rgb:
    """Lines of another pen: thinner or fainter, with the paper's grain."""
    ink = (255.0 - picture.astype(np.float32)) * how.uniform(0.75, 1.15)
    if how.random() < 0.5:
        ink = cv2.GaussianBlur(ink, (0, 0), how.uniform(0.3, 0.7))
    paper = grain.normal(0.0, how.uniform(0.0, 3.0), ink.shape[:2]).astype(np.float32)
    return _levels(255.0 - ink + paper[..., None])


def jpeg(picture: Rgb, quality: int) -> Rgb:
    """What is left after JPEG with halved chroma."""
    _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])


def blocks_of_four(picture: Rgb, step: float) -> Rgb:
    """What is left after quantising 4 x 4 transforms, as a video codec's key pictures at a low rate.

    Args:
        picture: Any size.
        step: Quantiser of the luma's changes; chroma's is 1.5 times as coarse, the mean of a block a third.
    """
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 0, -height % 4, 0, -width % 4, cv2.BORDER_REPLICATE)
    planes = cv2.cvtColor(padded, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    rows, columns = planes.shape[0] // 4, planes.shape[1] // 4
    blocks = planes.reshape(rows, 4, columns, 4, 3)
    coefficients = np.einsum("ka,lb,raxbc->rkxlc", _DCT4, _DCT4, blocks)
    steps = np.full((4, 4, 3), step, np.float32)
    steps[0, 0] /= 3.0
    steps[..., 1:] *= 1.5
    steps = steps[None, :, None]
    kept = np.rint(coefficients / steps) * steps
    restored = np.einsum("ka,lb,rkxlc->raxbc", _DCT4, _DCT4, kept).reshape(planes.shape)
    return np.ascontiguousarray(cv2.cvtColor(_levels(restored), cv2.COLOR_YCrCb2RGB)[:height, :width])


def _grained(shown: NDArray[np.float32], strength: float, grain: Random) -> NDArray[np.float32]:
    """Add noise of a standard deviation in levels; in colours it is coarser than in brightness, as cameras have it."""
    noise = grain.normal(0.0, strength, shown.shape[:2]).astype(np.float32)
    if shown.ndim == 2:
        return shown + noise
    small = (-(-shown.shape[0] // 2), -(-shown.shape[1] // 2), 3)
    colour = grain.normal(0.0, 0.6 * strength, small).astype(np.float32)
    size = shown.shape[1], shown.shape[0]
    return np.asarray(shown + noise[..., None] + cv2.resize(colour, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _grey(picture: Rgb) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _three(plane: NDArray[np.float32]) -> Rgb:
    return np.repeat(np.rint(plane).astype(np.uint8)[..., None], 3, axis=2)


def _levels(shown: NDArray[np.float32]) -> Rgb:
    return np.clip(np.rint(shown), 0.0, 255.0).astype(np.uint8)


PAIR_MAKERS = {
    "enhance": PairMaker("grain, blur, few pixels and blocks -> the clean photo", same, degraded),
    "relight": PairMaker("a dark, tinted, noisy picture -> the well lit photo", same, darkened),
    "colour": PairMaker("black and white -> the photo's colours", same, uncoloured),
    "sketch": PairMaker("photo -> pencil drawing", sketched, as_by_a_camera),
    "paint": PairMaker("photo -> flat colours with outlines", painted, as_by_a_camera),
    "line-to-face": PairMaker("line drawing -> photo", lines_of, redrawn),
}
