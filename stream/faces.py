"""Finding the faces of a stream: the one place that the session asks.

Two back ends measure the same 478 points: "openvino" runs MediaPipe's networks
directly and is the default; "mediapipe" is Google's package, several times as
slow, kept as the reference that the first is held against.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.yuv import i420_to_rgb
from models.face_networks import TASK_PATH
from models.landmarks import LandmarkNetworks
from models.mouth_cover import MouthCoverNetwork
from stream.errors import ConfigError
from stream.face_tracking import FaceReader, FaceTracks, FollowingReader, Reading
from stream.frames import NS_PER_MS, FaceCrop, VideoFrame
from stream.occlusion import MouthWatch

Backend = Literal["openvino", "mediapipe"]


class FaceFinder(Protocol):
    """Finds the faces of the pictures of one stream, in their order. Synchronous; one thread at a time."""

    def find(self, frame: VideoFrame) -> list[FaceCrop]:
        """The faces of one picture, none if there are none; a face keeps its `face_id`."""
        ...

    def close(self) -> None:
        """Release the networks."""
        ...


def open_face_finder(
    backend: Backend = "openvino",
    *,
    crop_size: int = 96,
    max_faces: int = 2,
    networks: "LoadedNetworks | None" = None,
) -> FaceFinder:
    """Open a finder for one stream.

    Args:
        backend: Who measures the points.
        crop_size: Side of the square that the generator takes, in pixels.
        max_faces: How many faces are followed; each costs about the same again.
        networks: What `load_networks()` gave, where that is done already; no other finder may use them meanwhile.

    Raises:
        ConfigError: No such back end, or it is not installed, or the task file is missing or damaged.
    """
    if max_faces < 1:
        raise ConfigError(f"max_faces is {max_faces}, expected at least 1")
    if backend not in ("openvino", "mediapipe"):
        raise ConfigError(f"face back end is {backend!r}, expected 'openvino' or 'mediapipe'")
    loaded = networks or load_networks()
    reader = MediapipeReader(max_faces) if backend == "mediapipe" else FollowingReader(loaded.landmarks, max_faces)
    return TrackedFaceFinder(reader, FaceTracks(crop_size, lambda: MouthWatch(loaded.cover)))


@dataclass(frozen=True, slots=True)
class LoadedNetworks:
    """What a finder computes with; it keeps nothing of a stream, so it can pass from one finder to the next.

    Attributes:
        landmarks: Faces and their points, unused by the "mediapipe" back end.
        cover: What hides a mouth.
    """

    landmarks: LandmarkNetworks
    cover: MouthCoverNetwork


def load_networks() -> LoadedNetworks:
    """Load the networks.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    try:
        return LoadedNetworks(LandmarkNetworks(), MouthCoverNetwork())
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"face networks: {error}") from error


class TrackedFaceFinder:
    """A finder made of a reader and the tracks of its faces.

    Args:
        reader: Measures faces; closed with the finder.
        tracks: Tells them apart over time.
    """

    def __init__(self, reader: FaceReader, tracks: FaceTracks) -> None:
        self._reader = reader
        self._tracks = tracks

    def find(self, frame: VideoFrame) -> list[FaceCrop]:
        """The faces of one picture, the oldest number first."""
        return self._tracks.update(frame, self._reader.read(frame))

    def close(self) -> None:
        """Release the networks."""
        self._reader.close()


class MediapipeReader:
    """Google's FaceLandmarker in VIDEO mode.

    With one face the package smooths the points itself. It gives no presence,
    so a face counts as present whenever it is returned.

    Args:
        max_faces: How many faces are followed.

    Raises:
        ConfigError: The package is not installed.
    """

    def __init__(self, max_faces: int) -> None:
        self._mediapipe = _import_mediapipe()
        vision = self._mediapipe.tasks.vision
        options = vision.FaceLandmarkerOptions(
            base_options=self._mediapipe.tasks.BaseOptions(model_asset_path=str(TASK_PATH)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=max_faces,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._last_ms = -1

    def read(self, frame: VideoFrame) -> list[Reading]:
        """Every face of the picture."""
        # The package refuses times that do not grow, and reads rows as if they had no padding.
        self._last_ms = max(self._last_ms + 1, frame.pts_ns // NS_PER_MS)
        rgb = np.ascontiguousarray(i420_to_rgb(frame.planes, frame.colour))
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        result = self._landmarker.detect_for_video(image, self._last_ms)
        return [Reading(_points(face, frame.height, frame.width), 1.0) for face in result.face_landmarks]

    def close(self) -> None:
        """Release the package's graph."""
        self._landmarker.close()


def _points(face: list[Any], height: int, width: int) -> NDArray[np.float32]:
    scale = np.array([width, height, width], np.float32)
    return np.array([(point.x, point.y, point.z) for point in face], np.float32) * scale


def _import_mediapipe() -> Any:  # noqa: ANN401 - a package without annotations
    try:
        import mediapipe
    except ImportError as error:
        raise ConfigError(
            f"the mediapipe face back end cannot start: {error}. Install it without its opencv-contrib-python, which "
            "writes over opencv-python-headless: "
            "pip install matplotlib certifi && pip install --no-deps mediapipe==1.2.2"
        ) from error
    return mediapipe
