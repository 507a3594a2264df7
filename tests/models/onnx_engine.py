"""A network in ONNX Runtime, to be held against torch where there is no card."""

from collections.abc import Mapping

import onnxruntime

from models.engine import Array


class OnnxEngine:
    """As much of an `Engine` as the gate asks for.

    Optimisations are off: with them ONNX Runtime computes fp8 wrongly (12 dB of torch instead of 38).
    """

    def __init__(self, onnx: bytes, precision: str) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.precision = precision
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        return {"picture": self._session.run(["picture"], dict(feed))[0]}
