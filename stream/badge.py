"""The visible mark on every picture that was changed: a short text in a corner, in luma and chroma."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.yuv import Colour, Region
from stream.frames import VideoFrame

DEFAULT_TEXT = "AI lips"
# Height of the mark as a share of the picture's shorter side, and the smallest that can still be read.
_SHARE = 0.05
_SMALLEST_PX = 12
_MARGIN_SHARE = 0.02
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DRAWN_PX = 48
_BACKGROUND_ALPHA = 0.55
_GREY = 128.0

Alpha = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A mark for one picture size: luma and chroma become `keep * old + add` inside the region."""

    region: Region
    keep_luma: Alpha
    add_luma: Alpha
    keep_chroma: Alpha
    add_chroma: Alpha


class Badge:
    """Draws the mark into a lower corner.

    Args:
        text: What it says; drawn in ASCII, other characters become question marks.
        side: Which of the two corners.
    """

    def __init__(self, text: str = DEFAULT_TEXT, side: Literal["left", "right"] = "right") -> None:
        self.text = text
        self._side = side
        self._glyphs = _draw(text)
        self._stamp = lru_cache(maxsize=4)(self._make_stamp)

    def draw(self, frame: VideoFrame) -> Region:
        """Draw in place; return the touched rectangle of luma pixels, both corners even.

        Raises:
            DeviceError: The picture is on a card, and that has failed.
        """
        stamp = self._stamp(frame.height, frame.width, frame.colour)
        luma, *chromas = part = frame.part(stamp.region)
        _blend(luma, stamp.keep_luma, stamp.add_luma)
        for chroma in chromas:
            _blend(chroma, stamp.keep_chroma, stamp.add_chroma)
        frame.put(stamp.region, part)
        return stamp.region

    def _make_stamp(self, height: int, width: int, colour: Colour) -> _Stamp:
        region = _place(height, width, self._glyphs.shape[1] / self._glyphs.shape[0], self._side)
        rows, columns = region.height, region.width
        ink = cv2.resize(self._glyphs, (columns, rows), interpolation=cv2.INTER_AREA)
        white, black = (255.0, 0.0) if colour.full_range else (235.0, 16.0)
        covered = np.maximum(ink, _BACKGROUND_ALPHA)
        half = (columns + 1) // 2, (rows + 1) // 2
        covered_chroma = cv2.resize(covered, half, interpolation=cv2.INTER_AREA)
        luma = ink * white + (covered - ink) * black
        return _Stamp(region, 1 - covered, luma, 1 - covered_chroma, covered_chroma * _GREY)


def _draw(text: str) -> Alpha:
    """Draw the text large, float32 [h, w] in [0, 1]; each size is shrunk from it."""
    scale = cv2.getFontScaleFromHeight(_FONT, _DRAWN_PX // 2, 3)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, 4)
    canvas = np.zeros((_DRAWN_PX, max(1, width) + _DRAWN_PX // 2), np.uint8)
    origin = (_DRAWN_PX // 4, _DRAWN_PX * 3 // 4)
    cv2.putText(canvas, text, origin, _FONT, scale, 255, 4, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255.0


def _place(height: int, width: int, aspect: float, side: Literal["left", "right"]) -> Region:
    """Choose the rectangle: even corners, inside the picture, at most half of it."""
    shorter = min(height, width)
    rows = min(max(_SMALLEST_PX, round(shorter * _SHARE)), max(1, height // 2), max(1, round(width / aspect)))
    columns = min(width, max(1, round(rows * aspect)))
    margin = round(shorter * _MARGIN_SHARE)
    top = max(0, height - margin - rows) & ~1
    left = max(0, min(margin, width - columns) if side == "left" else width - margin - columns) & ~1
    return Region(top, left, min(height, top + rows), min(width, left + columns))


def _blend(plane: NDArray[np.uint8], keep: Alpha, add: Alpha) -> None:
    plane[:] = (plane * keep + add + 0.5).astype(np.uint8)
