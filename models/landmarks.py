"""MediaPipe's face networks (`face_landmarker.task`), run by OpenVINO with this project's own glue.

The task file is a zip of three TensorFlow Lite networks: a detector, a mesh of
478 points, and 52 blendshapes. Training and the live path both read faces
through `LandmarkNetworks`, so both see the same points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LIMITED, Colour
from models.face_detector import FaceBox, FaceDetector
from models.face_networks import MESH_SIZE, POINTS, TASK_PATH, FaceNetworks, Precision
from models.face_regions import Picture, Region, read_region, region_around

MIN_PRESENCE = 0.5
# Outer corners of the eyes, picture's left one first, and the margin of `face_landmarks_detector_graph.cc`.
EYE_CORNERS = (33, 263)
REGION_EXPAND = 1.5
# fmt: off
# Points that the blendshape network takes: `face_blendshapes_graph.cc`, kLandmarksSubsetIdxs.
BLENDSHAPE_POINTS = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])
BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class FaceMesh:
    """The 478 points of one face.

    Attributes:
        points: float32 [478, 3], frame pixels; x, y, and z on the scale of x
            (smaller is nearer).
        presence: 0 to 1, how sure the network is that it looked at a face.
        region: The square it looked at.
    """

    points: NDArray[np.float32]
    presence: float
    region: Region

    @property
    def next_region(self) -> Region:
        """Where to look for this face in the next frame."""
        return region_around(self.points, *EYE_CORNERS, expand=REGION_EXPAND)


class LandmarkNetworks:
    """The networks, loaded once; they keep nothing between pictures. Not thread-safe: one per thread.

    Args:
        precision: Of the mesh's convolutions: "f32" repeats MediaPipe to 0.02 px, "bf16" to 0.1 px and runs in
            two thirds of the time; "auto" is bf16 where the CPU has it. What was chosen is in `precision`.
        threads: Threads of one inference.
        blendshapes: Also load the network behind `blendshapes()`.
        task_path: The task file; the hash of the shipped one is checked.

    Raises:
        FileNotFoundError: There is no task file.
        ValueError: The shipped task file is damaged.
    """

    def __init__(
        self,
        *,
        precision: Precision = "auto",
        threads: int = 1,
        blendshapes: bool = False,
        task_path: Path = TASK_PATH,
    ) -> None:
        networks = FaceNetworks(precision, threads, task_path)
        self.precision = networks.precision
        self._detector = FaceDetector(networks.detector())
        self._mesh = networks.mesh()
        self._blendshapes = networks.blendshapes() if blendshapes else None

    def detect(self, picture: Picture, colour: Colour = BT601_LIMITED) -> list[FaceBox]:
        """Faces of a whole frame, the most certain first.

        Args:
            picture: uint8 RGB [H, W, 3], or the planes (Y, U, V) of an I420 frame.
            colour: Meaning of the planes; unused for RGB.
        """
        return self._detector.detect(picture, colour)

    def mesh(self, picture: Picture, region: Region, colour: Colour = BT601_LIMITED) -> FaceMesh:
        """The points of the face in `region`; look at `presence` before use."""
        points, presence = self._mesh.read(read_region(picture, region, MESH_SIZE, colour=colour))
        return FaceMesh(_to_frame(points, region), presence, region)

    def blendshapes(self, mesh: FaceMesh) -> NDArray[np.float32]:
        """The 52 weights of `BLENDSHAPES`, 0 to 1.

        Raises:
            ValueError: The networks were loaded without blendshapes.
        """
        if self._blendshapes is None:
            raise ValueError("the blendshape network is not loaded: LandmarkNetworks(blendshapes=True)")
        points = np.ascontiguousarray(mesh.points[BLENDSHAPE_POINTS, :2])
        return self._blendshapes.infer({0: points[None]}, share_inputs=True)[0].copy()

    def find(self, picture: Picture, max_faces: int = 1, colour: Colour = BT601_LIMITED) -> list[FaceMesh]:
        """Detect and measure the faces of one still picture; those of low presence are left out."""
        boxes = self.detect(picture, colour)[:max_faces]
        meshes = [self.mesh(picture, box.region, colour) for box in boxes]
        return [mesh for mesh in meshes if mesh.presence >= MIN_PRESENCE]

    def follow(
        self, picture: Picture, last: Sequence[FaceMesh], colour: Colour = BT601_LIMITED
    ) -> list[FaceMesh | None]:
        """The same faces in the next frame of a clip, None for each that is gone."""
        meshes = [self.mesh(picture, mesh.next_region, colour) for mesh in last]
        return [mesh if mesh.presence >= MIN_PRESENCE else None for mesh in meshes]


def _to_frame(raw: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    """Network output (pixels of the square) to frame pixels."""
    to_frame = region.to_frame(MESH_SIZE)
    points = np.empty((POINTS, 3), np.float32)
    points[:, :2] = raw[:, :2] @ to_frame[:, :2].T + to_frame[:, 2]
    points[:, 2] = raw[:, 2] * (region.side_px / MESH_SIZE)
    return points
