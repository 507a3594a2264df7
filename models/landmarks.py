"""MediaPipe's face networks (`face_landmarker.task`), run by OpenVINO with this project's own glue.

The task file is a zip of three TensorFlow Lite networks: a detector, a mesh of
478 points, and 52 blendshapes. Training and the live path both read faces
through `LandmarkNetworks`, so both see the same points.
"""

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.yuv import BT601_LIMITED, Colour
from models.face_detector import FaceBox, FaceDetector
from models.face_regions import Picture, Region, picture_size, read_region, region_around

TASK_PATH = Path(__file__).parent / "weights" / "face_landmarker" / "face_landmarker.task"
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
POINTS = 478
MESH_SIZE = 256
MIN_PRESENCE = 0.5
# Outer corners of the eyes, picture's left one first, and the margin of `face_landmarks_detector_graph.cc`.
EYE_CORNERS = (33, 263)
REGION_EXPAND = 1.5

Precision = Literal["f32", "bf16"]


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
    """The three networks, loaded once; not thread-safe, one per thread.

    Args:
        precision: "f32" agrees with MediaPipe; OpenVINO would otherwise pick bf16 by itself.
        threads: Threads of one inference.
        blendshapes: Also load the network behind `blendshapes()`.
        task_path: The task file; its hash is checked only for the shipped one.

    Raises:
        FileNotFoundError: There is no task file.
        ValueError: The shipped task file is damaged.
    """

    def __init__(
        self,
        *,
        precision: Precision = "f32",
        threads: int = 1,
        blendshapes: bool = False,
        task_path: Path = TASK_PATH,
    ) -> None:
        names = ["face_detector", "face_landmarks_detector"] + ["face_blendshapes"] * blendshapes
        requests = _load(task_path, names, precision, threads)
        self.detector = FaceDetector(requests[0])
        self._mesh = requests[1]
        self._blendshapes = requests[2] if blendshapes else None

    def detect(self, picture: Picture, colour: Colour = BT601_LIMITED) -> list[FaceBox]:
        """Faces of a whole frame, the most certain first.

        Args:
            picture: uint8 RGB [H, W, 3], or the planes (Y, U, V) of an I420 frame.
            colour: Meaning of the planes; unused for RGB.
        """
        return self.detector.detect(picture, colour)

    def mesh(self, picture: Picture, region: Region, colour: Colour = BT601_LIMITED) -> FaceMesh:
        """The points of the face in `region`; look at `presence` before use."""
        square = read_region(picture, region, MESH_SIZE, colour=colour)
        tensor = np.multiply(square, np.float32(1 / 255), dtype=np.float32)[None]
        outputs = self._mesh.infer({0: tensor}, share_inputs=True)
        raw = outputs["Identity"].reshape(POINTS, 3)
        presence = 1 / (1 + np.exp(-float(outputs["Identity_1"].item())))
        return FaceMesh(_to_frame(raw, region), float(presence), region)

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


def _load(task_path: Path, names: Sequence[str], precision: Precision, threads: int) -> list[Any]:
    """Compile networks of the task file; returns one inference request each."""
    import openvino

    core = openvino.Core()
    config = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    requests = []
    # OpenVINO reads this format from files only, so the networks pass through a temporary folder.
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        for path in _unpack(task_path, names, Path(folder)):
            model = core.read_model(path)
            if model.inputs[0].partial_shape.is_dynamic:
                model.reshape([1, MESH_SIZE, MESH_SIZE, 3])
            requests.append(core.compile_model(model, "CPU", config).create_infer_request())
    return requests


def _unpack(task_path: Path, names: Sequence[str], folder: Path) -> list[Path]:
    """Write the named networks of the task file into a folder."""
    content = task_path.read_bytes()
    if task_path == TASK_PATH and hashlib.sha256(content).hexdigest() != TASK_SHA256:
        raise ValueError(
            f"{task_path} is damaged: its sha256 is not {TASK_SHA256}. Restore it: git checkout -- {task_path}"
        )
    with zipfile.ZipFile(task_path) as task:
        return [Path(task.extract(f"{name}.tflite", folder)) for name in names]
