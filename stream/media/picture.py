"""From a decoder's picture to the I420 planes that travel through a session, and back.

Planes of a yuv420p picture are the decoder's own bytes; any other pixel format
is converted once, keeping its matrix and its range.
"""

from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from kernels.yuv import Colour
from stream.frames import Planes

Plane = NDArray[np.uint8]

# Pictures without a matrix tag: players take BT.709 for high definition and BT.601 below.
HIGH_DEFINITION_ROWS = 720
_BT709_TAGS = (1, 9, 10)  # AVCOL_SPC_BT709; BT2020 (9, 10) is closer to it than to BT.601
_UNSPECIFIED = 2
_RGB_TAG = 0
_AS_IT_IS = ("yuv420p", "yuvj420p")


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pictures must be turned to be upright: transposed first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def upright(self, plane: Plane) -> Plane:
        """Return the turned plane, [W, H] for [H, W] if transposed."""
        if self == UPRIGHT:
            return plane
        turned = plane.T if self.transpose else plane
        turned = turned[:, ::-1] if self.mirror_x else turned
        turned = turned[::-1] if self.mirror_y else turned
        return np.ascontiguousarray(turned)


UPRIGHT = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix that phones write, to the nearest quarter turn.

    Source:
        `libavutil/display.h`: int32 [3, 3] in 16.16, x' = a x + c y, y' = b x + d y with a, b first row, c, d second.
    """
    # av's annotation says that only motion vectors are in there.
    entries = cast("SideDataContainer", frame.side_data)
    side = next((each for each in entries if each.type is Type.DISPLAYMATRIX), None)
    if side is None:
        return UPRIGHT
    matrix = np.frombuffer(memoryview(side), np.int32)
    a, b, _, c, d, _ = (int(value) for value in matrix[:6])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def colour_of(frame: av.VideoFrame) -> Colour:
    """Matrix and range of the planes that `planes_of` returns for such a picture."""
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    if frame.format.is_rgb or frame.colorspace == _RGB_TAG:
        return Colour("bt601", full_range=False)
    if frame.colorspace == _UNSPECIFIED:
        return Colour("bt709" if frame.height >= HIGH_DEFINITION_ROWS else "bt601", full_range)
    return Colour("bt709" if frame.colorspace in _BT709_TAGS else "bt601", full_range)


def planes_of(frame: av.VideoFrame, orientation: Orientation = UPRIGHT) -> Planes:
    """Copy a decoded picture into writable I420 planes, upright."""
    picture = frame if frame.format.name in _AS_IT_IS else _as_yuv420p(frame)
    y, u, v = (
        orientation.upright(_rows(picture.planes[index], *size))
        for index, size in enumerate(plane_sizes(picture.height, picture.width))
    )
    return y, u, v


def _as_yuv420p(frame: av.VideoFrame) -> av.VideoFrame:
    colour = colour_of(frame)
    matrix = Colorspace.ITU709 if colour.matrix == "bt709" else Colorspace.ITU601
    span = ColorRange.JPEG if colour.full_range else ColorRange.MPEG
    source_span = ColorRange.JPEG if frame.format.is_rgb else span
    return frame.reformat(
        format="yuv420p",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=source_span,
        dst_color_range=span,
        threads=1,
    )


def plane_sizes(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Rows and columns of Y, U and V; chroma of odd sides is rounded up."""
    chroma = ((height + 1) // 2, (width + 1) // 2)
    return (height, width), chroma, chroma


def _rows(plane: VideoPlane, height: int, width: int) -> Plane:
    return _view(plane)[:height, :width].copy()


def _view(plane: VideoPlane) -> Plane:
    """Return the plane's own memory, padding included."""
    memory: Plane = np.frombuffer(memoryview(plane), np.uint8)
    return memory.reshape(-1, plane.line_size)


def encodable(planes: Planes) -> av.VideoFrame:
    """Copy I420 planes into a picture that an encoder takes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, source in zip(frame.planes, planes, strict=True):
        _view(plane)[: source.shape[0], : source.shape[1]] = source
    return frame
