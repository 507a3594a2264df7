"""What stands in for a natural voice's network, its phonemes and the pipe that it answers into."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper


def write_network(path: Path) -> Path:
    """A network with a value inside, "/Inner": twice its input; what it gives is that plus one."""
    nodes = [
        helper.make_node("Add", ["input", "input"], ["/Inner"]),
        helper.make_node("Add", ["/Inner", "one"], ["output"]),
    ]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


class FakePhonemisers:
    def phonemes(self, text: str, voice: str) -> str:  # noqa: ARG002 - the signature of a phonemiser
        return {"Hola": "ˈola", "adiós": "aðjˈos"}.get(text, "")

    def close(self) -> None: ...


class Heard:
    """An answer that keeps what it is sent, and is cancelled after some of it."""

    def __init__(self, cancelled_after: int = 1_000) -> None:
        self.sent: list[dict[str, Any]] = []
        self._cancelled_after = cancelled_after

    @property
    def cancelled(self) -> bool:
        return len(self.sent) >= self._cancelled_after

    def send(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        self.sent.append({"kind": kind, "samples": np.frombuffer(body, "<i2"), **fields})
