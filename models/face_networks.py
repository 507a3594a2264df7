"""The networks inside `face_landmarker.task`, compiled for this CPU by OpenVINO.

The mesh is cut in two: its convolutions run in bfloat16 where the CPU has it,
its last fully connected layer always in float32. Uncut, bfloat16 would round
coordinates of 128 px and more to whole pixels; cut, points move by 0.09 px of
the 256 px square.
"""

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

TASK_PATH = Path(__file__).parent / "weights" / "face_landmarker" / "face_landmarker.task"
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_SIZE = 128
MESH_SIZE = 256
POINTS = 478

Precision = Literal["auto", "f32", "bf16"]

# OpenVINO prefers its brgemm convolutions, which are slow at the mesh's 8 to 128 channels: 4.2 ms in
# bf16 and 5.3 ms in f32, against 2.3 and 3.9 ms with these. Names that a CPU lacks are passed over.
_CONVOLUTIONS_FIRST = "cpu:jit_avx512_1x1,cpu:jit_avx512"


class Request(Protocol):
    """The part of `openvino.InferRequest` that is used here."""

    def infer(
        self, inputs: Mapping[int, NDArray[np.generic]], *, share_inputs: bool
    ) -> Mapping[int, NDArray[np.float32]]:
        """Outputs by position; they stay valid until the next call."""


class FaceNetworks:
    """Compiles networks of one task file.

    Args:
        precision: Of the convolutions; "auto" is bf16 where the CPU computes it natively, else f32.
        threads: Threads of one inference.
        task_path: The task file; the hash of the shipped one is checked.

    Raises:
        FileNotFoundError: There is no task file.
        ValueError: The shipped task file is damaged.
    """

    def __init__(self, precision: Precision = "auto", threads: int = 1, task_path: Path = TASK_PATH) -> None:
        self._core = openvino.Core()
        self._threads = threads
        self._task = _read_task(task_path)
        self.precision = self._native_precision() if precision == "auto" else precision

    def detector(self) -> Request:
        """Float32 RGB [1, 128, 128, 3] in [-1, 1] to boxes [1, 896, 16] and scores [1, 896, 1]."""
        return self._compile(self._model("face_detector"), "f32")

    def mesh(self) -> "MeshNetwork":
        """The 478 points."""
        features, head = _cut(self._model("face_landmarks_detector"))
        return MeshNetwork(
            self._compile(_prefer(features, _CONVOLUTIONS_FIRST), self.precision), self._compile(head, "f32")
        )

    def blendshapes(self) -> Request:
        """Float32 [1, 146, 2] to [52]."""
        return self._compile(self._model("face_blendshapes"), "f32")

    def _native_precision(self) -> Literal["f32", "bf16"]:
        return "bf16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"

    def _model(self, name: str) -> openvino.Model:
        # OpenVINO reads this format from files only.
        with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
            return self._core.read_model(self._task.extract(f"{name}.tflite", folder))

    def _compile(self, model: openvino.Model | tuple[str, NDArray[np.uint8]], precision: str) -> Request:
        if isinstance(model, tuple):
            model = self._core.read_model(model[0].encode(), openvino.Tensor(model[1]))
        config = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        request: Request = self._core.compile_model(model, "CPU", config).create_infer_request()
        return request


class MeshNetwork:
    """Reads the 478 points of the face in a square.

    Args:
        features: uint8 RGB [1, 256, 256, 3] to float32 [1, 128, 2, 2].
        head: That to points [1, 1, 1, 1434] and presence [1, 1, 1, 1] (a logit).
    """

    def __init__(self, features: Request, head: Request) -> None:
        self._features = features
        self._head = head

    def read(self, square: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Points and presence.

        Args:
            square: uint8 RGB [256, 256, 3], contiguous.

        Returns:
            float32 [478, 3], x, y, z in pixels of the square, and the presence, 0 to 1.
        """
        features = self._features.infer({0: square[None]}, share_inputs=True)[0]
        outputs = self._head.infer({0: features}, share_inputs=True)
        return outputs[0].reshape(POINTS, 3), float(1 / (1 + np.exp(-outputs[1].item())))


def _read_task(task_path: Path) -> zipfile.ZipFile:
    if task_path == TASK_PATH:
        found = hashlib.sha256(task_path.read_bytes()).hexdigest()
        if found != TASK_SHA256:
            raise ValueError(
                f"{task_path} has sha256 {found}, expected {TASK_SHA256}. Restore it: git checkout {task_path}"
            )
    return zipfile.ZipFile(task_path)


def _cut(mesh: openvino.Model) -> tuple[openvino.Model, openvino.Model]:
    """Split the mesh before its output layers; the first part then takes bytes instead of floats in [0, 1]."""
    mesh.reshape([1, MESH_SIZE, MESH_SIZE, 3])
    _take_bytes(mesh)
    points, presence = (_convolution_above(mesh.output(name)) for name in ("Identity", "Identity_1"))
    trunk = points.input_value(0)
    features = openvino.Model([trunk], mesh.get_parameters(), "face_features")
    joint = opset13.parameter(list(trunk.get_shape()), np.float32)
    for layer in (points, presence):
        layer.input(0).replace_source_output(joint.output(0))
    return features, openvino.Model([mesh.output("Identity"), mesh.output("Identity_1")], [joint], "face_points")


def _take_bytes(mesh: openvino.Model) -> None:
    """Fold the division by 255 into the first convolution, which pads with zeros."""
    first = next(op for op in mesh.get_ordered_ops() if op.get_type_name() == "Convolution")
    scaled = opset13.multiply(first.input_value(1), opset13.constant(np.float32(1 / 255)))
    first.input(1).replace_source_output(scaled.output(0))
    preprocess = openvino.preprocess.PrePostProcessor(mesh)
    preprocess.input().tensor().set_element_type(openvino.Type.u8)
    preprocess.build()


def _convolution_above(output: openvino.Output) -> openvino.Node:
    node = output.get_node()
    while node.get_type_name() != "Convolution":
        node = node.input_value(0).get_node()
    return node


def _prefer(model: openvino.Model, kinds: str) -> tuple[str, NDArray[np.uint8]]:
    """The model as OpenVINO's own format (text, weights), its convolutions marked with the kinds to try first."""
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        text, weights = path.read_text(), np.fromfile(path.with_suffix(".bin"), np.uint8)
    mark = f'<rt_info><attribute name="primitives_priority" version="0" value="{kinds}"/></rt_info>'
    return re.sub(r'(<layer [^>]*type="Convolution"[^>]*>\s*<data [^>]*/>)', rf"\1{mark}", text), weights
