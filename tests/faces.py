"""Pictures with faces for the tests: the bundled clip, the portraits, and what can be made of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_S, VideoFrame

SAMPLE = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
FRAME_NS = NS_PER_S // 25

Rgb = NDArray[np.uint8]
Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def clip(path: Path = SAMPLE, count: int = 25) -> Iterator[Rgb]:
    """The first pictures of a clip, uint8 RGB [H, W, 3]."""
    with av.open(path) as container:
        for frame in islice(container.decode(video=0), count):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def portraits(material: Path, count: int) -> list[Rgb]:
    """Portraits of different people, 256 x 256, spread over the collection."""
    paths = sorted((material / "faces" / "congress118_256").glob("*.jpg"))
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths[:: len(paths) // count][:count]]


def planes_of(picture: Rgb) -> Planes:
    """I420 planes of an RGB picture of any size, BT.601 limited range."""
    height, width = picture.shape[:2]
    even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    packed = cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420)
    rows, columns = even.shape[:2]
    chroma = packed[rows:].reshape(2, rows // 2, columns // 2)
    return packed[:height, :width].copy(), chroma[0].copy(), chroma[1].copy()


def frame_of(picture: Rgb, number: int = 0) -> VideoFrame:
    """The picture as the frame of that number at 25 a second."""
    return VideoFrame(number * FRAME_NS, 0, "yuv420p", planes_of(picture))


def on_canvas(height: int, width: int, *placed: tuple[Rgb, int, int]) -> Rgb:
    """A grey picture with others pasted at (top, left), cut off at the border."""
    canvas = np.full((height, width, 3), 90, np.uint8)
    for picture, top, left in placed:
        rows, columns = slice(max(0, top), top + picture.shape[0]), slice(max(0, left), left + picture.shape[1])
        target = canvas[rows, columns]
        from_top, from_left = max(0, -top), max(0, -left)
        target[:] = picture[from_top : from_top + target.shape[0], from_left : from_left + target.shape[1]]
    return canvas


def distance_px(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Mean distance of two sets of points, x and y only."""
    return float(np.linalg.norm(first[:, :2] - second[:, :2], axis=1).mean())
