"""A file that is no graph of this export is named in one line."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from genrec.errors import ArtifactError
from genrec.models.onnx_graph import Graph


def write_small(path, inputs=("ids", "position", "mask", "key_0", "value_0"), opset=20, model="abc", data=False):
    """A graph of the right face whose hidden states are all ones, and whose past stays as it is."""
    kinds = {"ids": (TensorProto.INT64, ["b", "s"]), "position": (TensorProto.INT64, ["b", "s"])}
    kinds |= {"mask": (TensorProto.BOOL, ["b", 1, "s", "t"])}
    past = (TensorProto.FLOAT, ["b", 2, "p", 4])
    given = [helper.make_tensor_value_info(name, *kinds.get(name, past)) for name in inputs]
    made = [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, None)]
    made += [helper.make_tensor_value_info(f"present_{name}", TensorProto.FLOAT, None) for name in inputs[3:]]
    nodes = [helper.make_node("Identity", ["weight"], ["hidden"])]
    nodes += [helper.make_node("Identity", [name], [f"present_{name}"]) for name in inputs[3:]]
    weight = numpy_helper.from_array(np.ones((1, 1, 300), np.float32), "weight")
    graph = helper.make_graph(nodes, "small", given, made, [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(proto, {"genrec.model": model} if model else {})
    onnx.save(proto, path, save_as_external_data=data, location=f"{path.name}.data", size_threshold=0)
    return path


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"model": "other"}, "was made from model other, export.json is of abc"),
        ({"model": ""}, "was made from model none"),
        ({"inputs": ("ids", "position", "mask")}, "is no decoder of this project: its inputs are ids, position, mask"),
        ({"inputs": ("mask", "ids", "position", "key_0")}, "is no decoder of this project"),
        ({"opset": 99}, "step.onnx cannot be loaded: .*get its files again"),
    ],
)
def test_another_graph_is_refused(tmp_path, fault, said):
    with pytest.raises(ArtifactError, match=said):
        Graph(write_small(tmp_path / "step.onnx", **fault), "abc")


def test_missing_data_and_torn_files_are_named(tmp_path):
    path = write_small(tmp_path / "step.onnx", data=True)
    Graph(path, "abc")
    (tmp_path / "step.onnx.data").unlink()
    with pytest.raises(ArtifactError, match="step.onnx cannot be loaded: .*data"):
        Graph(path, "abc")
    path.write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="step.onnx cannot be loaded"):
        Graph(path, "abc")


def test_a_pass_starts_from_nothing_and_hands_on_its_past(tmp_path):
    graph = Graph(write_small(tmp_path / "step.onnx"), "abc")
    assert graph.past == {"key_0": (2, 4), "value_0": (2, 4)}
    hidden, past = graph.read(np.zeros((3, 5), np.int64), None, None, None)
    assert hidden.shape == (1, 1, 300) and [array.shape for array in past.arrays] == [(3, 2, 0, 4)] * 2
