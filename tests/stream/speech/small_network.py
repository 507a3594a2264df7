"""ONNX networks that are small enough to be made in a test."""

from pathlib import Path

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
