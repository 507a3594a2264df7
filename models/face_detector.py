"""MediaPipe's short-range face detector: boxes and six key points from a 128 x 128 view of the whole frame."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LIMITED, Colour
from models.face_networks import DETECTOR_SIZE, Request
from models.face_regions import Picture, Region, picture_size, read_region

MIN_SCORE = 0.5
MIN_OVERLAP_TO_MERGE = 0.3
# Side of the mesh's region over the detector's box: `face_detector_graph.cc`.
REGION_EXPAND = 1.5
_KEY_POINTS = 6


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One detected face.

    Attributes:
        corners: float32 [2, 2], top left and bottom right, frame pixels (x, y).
        key_points: float32 [6, 2], frame pixels: the eyes (picture's left one
            first), nose, mouth, ears.
        score: 0 to 1.
    """

    corners: NDArray[np.float32]
    key_points: NDArray[np.float32]
    score: float

    @property
    def region(self) -> Region:
        """Where the mesh network should look."""
        center = self.corners.mean(axis=0)
        side = float((self.corners[1] - self.corners[0]).max()) * REGION_EXPAND
        step = self.key_points[1] - self.key_points[0]
        return Region(float(center[0]), float(center[1]), side, math.atan2(float(step[1]), float(step[0])))


class FaceDetector:
    """Finds the faces of a frame, the most certain first.

    Args:
        network: `FaceNetworks.detector()`.
    """

    def __init__(self, network: Request) -> None:
        self._network = network

    def detect(self, picture: Picture, colour: Colour = BT601_LIMITED) -> list[FaceBox]:
        """All faces with a score of at least `MIN_SCORE`, overlapping ones merged."""
        height, width = picture_size(picture)
        side = max(height, width)
        view = Region(width / 2, height / 2, side)
        square = read_region(picture, view, DETECTOR_SIZE, colour=colour, replicate=False)
        outputs = self._network.infer({0: _normalise(square)}, share_inputs=True)
        boxes = _merge(*_decode(outputs[0][0], outputs[1][0, :, 0]))
        to_frame = view.to_frame(DETECTOR_SIZE)
        return [
            _face_box(points * DETECTOR_SIZE @ to_frame[:, :2].T + to_frame[:, 2], score) for points, score in boxes
        ]


def _normalise(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = np.multiply(square, np.float32(1 / 127.5), dtype=np.float32)
    scaled -= 1
    return scaled[None]


def _face_box(points: NDArray[np.float64], score: float) -> FaceBox:
    rounded: NDArray[np.float32] = points.astype(np.float32)
    return FaceBox(rounded[:2], rounded[2:], score)


@cache
def _anchor_centers() -> NDArray[np.float32]:
    """float32 [896, 2] in 0..1: 2 anchors on a 16 x 16 grid, then 6 on an 8 x 8 grid.

    Source:
        MediaPipe, `ssd_anchors_calculator.cc` with strides 8, 16, 16, 16 and
        fixed anchor size.
    """
    centers = []
    for cells, per_cell in ((16, 2), (8, 6)):
        y, x = np.divmod(np.arange(cells * cells), cells)
        grid = (np.stack([x, y], axis=1) + 0.5) / cells
        centers.append(np.repeat(grid, per_cell, axis=0))
    return np.concatenate(centers).astype(np.float32)


def _decode(raw: NDArray[np.float32], logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points [n, 8, 2] (two corners, six key points; 0..1) and scores [n] of the anchors that pass."""
    scores = np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)
    kept = np.flatnonzero(scores >= MIN_SCORE)
    values = raw[kept].reshape(-1, 2 + _KEY_POINTS, 2) / DETECTOR_SIZE
    anchors = _anchor_centers()[kept]
    center, half = values[:, 0] + anchors, values[:, 1] / 2
    points = np.concatenate(
        [(center - half)[:, None], (center + half)[:, None], values[:, 2:] + anchors[:, None]], axis=1
    )
    return points, scores[kept]


def _merge(points: NDArray[np.float32], scores: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], float]]:
    """Weighted non-maximum suppression (`non_max_suppression_calculator.cc`, WEIGHTED)."""
    left = np.argsort(-scores, kind="stable")
    merged = []
    while len(left):
        best = left[0]
        same = _overlaps(points[best], points[left]) > MIN_OVERLAP_TO_MERGE
        same[0] = True
        group = left[same]
        weights = scores[group] / scores[group].sum()
        merged.append((np.einsum("n,nij->ij", weights, points[group]), float(scores[best])))
        left = left[~same]
    return merged


def _overlaps(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box with each of many."""
    low = np.maximum(one[0], many[:, 0])
    high = np.minimum(one[1], many[:, 1])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(many[:, 1] - many[:, 0], axis=1)
    total = np.prod(one[1] - one[0]) + areas - shared
    return np.asarray(shared / np.maximum(total, 1e-9), dtype=np.float32)
