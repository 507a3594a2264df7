"""What filters are shown of a picture, by the names that their manifests have for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kernels.face_layout import FACE_CLASSES, face_layout
from kernels.folded_planes import Cells, frame_to_cells
from kernels.frame_tensor import Tensor, frame_to_tensor
from kernels.lines import line_drawing
from kernels.portrait_layout import PORTRAIT_CLASSES, portrait_layout
from kernels.yuv import BT601_LUMA, Region
from stream.frames import FaceCrop, VideoFrame

# Rec. 601's, as `cv2.COLOR_RGB2GRAY` has them, by which filters for grey pictures are trained.
_GREY = np.array(BT601_LUMA, np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """What is to be shown.

    Attributes:
        frame: The picture.
        region: Which part of it.
        size: Height and width of what the network takes.
        face: The face in the region; None where it is about the whole picture.
    """

    frame: VideoFrame
    region: Region
    size: tuple[int, int]
    face: FaceCrop | None = None


def picture(view: View) -> Tensor:
    """Show it as it is, in RGB."""
    return frame_to_tensor(view.frame.planes, view.size, view.frame.colour, view.region)


def grey(view: View) -> Tensor:
    """Show it without colour: the same in all three channels."""
    return _in_all_channels(np.tensordot(_GREY, picture(view), 1))


def lines(view: View) -> Tensor:
    """Show a drawing of it, dark lines on white paper, in all three channels."""
    levels = np.rint((picture(view) + 1.0) * 127.5).astype(np.uint8)
    drawn = line_drawing(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return _in_all_channels(np.rint(255.0 * drawn) / 127.5 - 1.0)


def planes(view: View) -> Cells:
    """Show the bytes that it is made of."""
    return frame_to_cells(view.frame.planes, view.size, view.frame.colour, view.region)


def layout(view: View) -> Tensor:
    """Show which part of the face is where, and nothing of the picture."""
    return face_layout(None if view.face is None else view.face.landmarks, view.region, view.size)


def portrait(view: View) -> Tensor:
    """Show which part of the face is where, a head around it that is nobody's, and nothing of the picture."""
    return portrait_layout(None if view.face is None else view.face.landmarks, view.region, view.size)


def _in_all_channels(plane: Tensor) -> Tensor:
    return np.repeat(plane[None].astype(np.float32, copy=False), 3, axis=0)


SOURCES: Mapping[str, Callable[[View], Tensor | Cells]] = {
    "picture": picture,
    "grey": grey,
    "lines": lines,
    "planes": planes,
    "layout": layout,
    "portrait": portrait,
}
"""From a view to float32 [C, h, w], pictures in [-1, 1], a layout in 0 and 1; or to folded planes."""

CLASSES: Mapping[str, tuple[str, ...]] = {"layout": FACE_CLASSES, "portrait": PORTRAIT_CLASSES}
"""Of the sources that are layouts, by channel."""
