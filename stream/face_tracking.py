"""From faces measured in single pictures to faces that keep their number over time.

A reader measures the faces of each picture; `FaceTracks` gives every face a
lasting number, smooths its points, and says how far its mouth can be trusted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_transform
from kernels.smoothing import OneEuro
from models.face_regions import Region, overlap
from models.landmarks import MIN_PRESENCE, FaceMesh, LandmarkNetworks
from stream.frames import NS_PER_S, FaceCrop, VideoFrame
from stream.occlusion import MouthWatch

# Two regions that overlap more show the same face.
SAME_FACE_OVERLAP = 0.4
# The networks look for further faces this often while they follow at least one.
SEARCH_EVERY = 15
# A face that comes back within this time near its last place keeps its number.
MEMORY_NS = 2 * NS_PER_S
BACK_OVERLAP = 0.1

# Where trust ends and where it is full.
_PRESENCE = (0.5, 0.9)
_TURN_DEG = (65.0, 40.0)
_INSIDE = (0.6, 1.0)
_WIDTH_PX = (16.0, 32.0)
# Right and left edge of the face at the height of the ears.
_CHEEKS = (234, 454)
# The lips' outline. A chin cut off by the picture's border does not matter: on one of six HDTF clips it always is.
_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])


@dataclass(frozen=True, slots=True)
class Reading:
    """One face measured in one picture.

    Attributes:
        points: float32 [478, 3], frame pixels; x, y, and z on the scale of x.
        presence: 0 to 1, how sure the network is.
    """

    points: NDArray[np.float32]
    presence: float

    @property
    def box(self) -> Region:
        """The upright square about the points, for matching."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        center = (low + high) / 2
        return Region(float(center[0]), float(center[1]), float((high - low).max()))


class FaceReader(Protocol):
    """Measures the faces of pictures that follow each other."""

    def read(self, frame: VideoFrame) -> list[Reading]:
        """Every face of the picture, at most as many as agreed at opening."""
        ...

    def close(self) -> None:
        """Release the networks."""
        ...


class FollowingReader:
    """Reads faces with the landmark networks: looks where they were, and searches the picture when one is missing.

    Args:
        networks: Used by this reader alone.
        max_faces: How many faces are followed.
    """

    def __init__(self, networks: LandmarkNetworks, max_faces: int) -> None:
        self._networks = networks
        self._max_faces = max_faces
        self._meshes: list[FaceMesh] = []
        self._since_search = 0

    def read(self, frame: VideoFrame) -> list[Reading]:
        """Every face of the picture, at most `max_faces`."""
        followed = self._networks.follow(frame.planes, self._meshes, frame.colour)
        self._meshes = _distinct([mesh for mesh in followed if mesh is not None])
        self._since_search += 1
        lost = None in followed or not self._meshes
        if len(self._meshes) < self._max_faces and (lost or self._since_search >= SEARCH_EVERY):
            self._search(frame)
        return [Reading(mesh.points, mesh.presence) for mesh in self._meshes]

    def close(self) -> None:
        """Forget the faces."""
        self._meshes = []

    def _search(self, frame: VideoFrame) -> None:
        self._since_search = 0
        for box in self._networks.detect(frame.planes, frame.colour):
            if len(self._meshes) >= self._max_faces:
                return
            if any(overlap(box.region, mesh.next_region) > SAME_FACE_OVERLAP for mesh in self._meshes):
                continue
            mesh = self._networks.mesh(frame.planes, box.region, frame.colour)
            if mesh.presence >= MIN_PRESENCE:
                self._meshes = _distinct([*self._meshes, mesh])


def _distinct(meshes: Sequence[FaceMesh]) -> list[FaceMesh]:
    """The meshes without those that have slid onto the face of an earlier one."""
    kept: list[FaceMesh] = []
    for mesh in meshes:
        if all(overlap(mesh.next_region, other.next_region) <= SAME_FACE_OVERLAP for other in kept):
            kept.append(mesh)
    return kept


@dataclass(slots=True, eq=False)
class _Track:
    """One face over time."""

    face_id: int
    box: Region
    seen_ns: int
    watch: MouthWatch
    smoothing: OneEuro = field(default_factory=OneEuro)


class FaceTracks:
    """Numbers, smooths and judges the faces of one stream.

    Args:
        crop_size: Side of the generator's square, for `FaceCrop.to_crop`.
        open_watch: Makes the watch over one face's mouth.
    """

    def __init__(self, crop_size: int, open_watch: Callable[[], MouthWatch]) -> None:
        self._crop_size = crop_size
        self._open_watch = open_watch
        self._tracks: list[_Track] = []
        self._next_id = 0

    def update(self, frame: VideoFrame, readings: Sequence[Reading]) -> list[FaceCrop]:
        """The faces of a picture, the oldest number first."""
        now_ns = frame.pts_ns
        if any(now_ns < track.seen_ns for track in self._tracks):
            self._tracks.clear()
        self._tracks = [track for track in self._tracks if now_ns - track.seen_ns <= MEMORY_NS]
        pairs = self._pairs(readings)
        crops = []
        for i, reading in enumerate(readings):
            track = pairs.get(i) or self._new_track(reading)
            track.box, track.seen_ns = reading.box, now_ns
            crops.append(self._crop(frame, track, reading))
        return sorted(crops, key=lambda crop: crop.face_id)

    def _pairs(self, readings: Sequence[Reading]) -> dict[int, _Track]:
        """The track of each reading that has one: the pairs that overlap most go first."""
        near = [
            (shared, i, track)
            for i, reading in enumerate(readings)
            for track in self._tracks
            if (shared := overlap(track.box, reading.box)) >= BACK_OVERLAP
        ]
        pairs: dict[int, _Track] = {}
        for _, i, track in sorted(near, key=lambda pair: -pair[0]):
            if i not in pairs and track not in pairs.values():
                pairs[i] = track
        return pairs

    def _new_track(self, reading: Reading) -> _Track:
        track = _Track(self._next_id, reading.box, 0, self._open_watch())
        self._next_id += 1
        self._tracks.append(track)
        return track

    def _crop(self, frame: VideoFrame, track: _Track, reading: Reading) -> FaceCrop:
        landmarks = track.smoothing(reading.points[:, :2], frame.pts_ns)
        to_crop = crop_transform(landmarks, self._crop_size)
        visible = track.watch.look(frame, landmarks)
        plain = plainness(reading, frame.height, frame.width)
        return FaceCrop(track.face_id, frame.pts_ns, to_crop, landmarks, plain, visible)


def plainness(reading: Reading, height: int, width: int) -> float:
    """How plainly a face shows its mouth, apart from what is before it: 0 to 1.

    The least of: the network's presence; frontality (full to 40 degrees of
    turn, none from 65); the part of the lips inside the picture; size
    (none below 16 px, full from 32).
    """
    points = reading.points
    lips = points[_LIPS, :2]
    inside = float(np.all((lips >= 0) & (lips < (width, height)), axis=1).mean())
    across = points[_CHEEKS[1]] - points[_CHEEKS[0]]
    turn_deg = abs(math.degrees(math.atan2(float(across[2]), math.hypot(float(across[0]), float(across[1])))))
    return min(
        _ramp(reading.presence, *_PRESENCE),
        _ramp(turn_deg, *_TURN_DEG),
        _ramp(inside, *_INSIDE),
        _ramp(float(np.linalg.norm(across)), *_WIDTH_PX),
    )


def _ramp(value: float, none: float, full: float) -> float:
    """0 at `none`, 1 at `full`, straight between, either may be the larger."""
    return min(1.0, max(0.0, (value - none) / (full - none)))
