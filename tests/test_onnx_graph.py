"""The graph for ONNX Runtime: the same logits from fewer nodes."""

from collections import Counter

import mindspore
import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import Tensor, nn, ops
from onnx import TensorProto, helper, numpy_helper

from hubpkg.runtime.onnx_graph import optimized


class Sample(nn.Cell):
    """A normalisation and a GELU, as networks have them."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm([6], epsilon=1e-3)
        self.norm.gamma.set_data(Tensor(np.linspace(0.5, 2, 6).astype(np.float32)))
        self.norm.beta.set_data(Tensor(np.linspace(-1, 1, 6).astype(np.float32)))

    def construct(self, x):
        x = self.norm(x)
        return x * ops.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


class SampleByProducts(Sample):
    """The same, in parts that are quick on a CPU."""

    def construct(self, x):
        tokens = x.reshape((-1, 6))
        mean = ops.ReduceMean(keep_dims=True)(tokens, -1)
        centred = tokens - ops.MatMul()(mean, ops.ones((1, 6), mindspore.float32))
        variance = ops.ReduceMean(keep_dims=True)(centred * centred, -1)
        scale = ops.MatMul()(ops.Div()(1.0, ops.sqrt(variance + 1e-3)), self.norm.gamma.reshape((1, 6)))
        x = ops.BiasAdd()(centred * scale, self.norm.beta).reshape(x.shape)
        return x * ops.sigmoid(x * (1.5957691216057308 + 0.07135481627159 * (x * x)))


def run(model, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(("sample", "reshapes"), [(Sample, 0), (SampleByProducts, 2)])
def test_normalisation_and_gelu_become_one_node_each(tmp_path, sample, reshapes):
    x = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float32)
    file = str(tmp_path / "sample.onnx")
    mindspore.export(sample(), Tensor(x), file_name=file, file_format="ONNX")
    model = onnx.load(file)
    before = model.SerializeToString()
    result = optimized(model)
    found = operators(result)
    assert (found["LayerNormalization"], found["FastGelu"], found["Reshape"]) == (1, 1, reshapes)
    assert set(found) <= {"LayerNormalization", "FastGelu", "Reshape", "Constant"}
    np.testing.assert_allclose(run(result, x), run(model, x), rtol=0, atol=1e-5)
    assert model.SerializeToString() == before
    (norm,) = (node for node in result.graph.node if node.op_type == "LayerNormalization")
    assert {value.name for value in result.graph.initializer} == set(norm.input[1:])


def changed(file, operator, place, value):
    """The model in ``file`` with another constant as the input at ``place`` of its first node of that operator."""
    model = onnx.load(file)
    node = next(node for node in model.graph.node if node.op_type == operator)
    (constant,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[place])
    array = numpy_helper.to_array(constant)
    constant.CopyFrom(numpy_helper.from_array(np.full_like(array, value), constant.name))
    return model


@pytest.mark.parametrize(
    ("sample", "operator", "place", "value"),
    [(Sample, "Div", 1, 5), (SampleByProducts, "Gemm", 1, 2), (SampleByProducts, "Div", 0, 2)],
)
def test_only_a_normalisation_itself_is_taken_for_it(tmp_path, sample, operator, place, value):
    x = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float32)
    file = str(tmp_path / "sample.onnx")
    mindspore.export(sample(), Tensor(x), file_name=file, file_format="ONNX")
    model = changed(file, operator, place, value)
    result = optimized(model)
    assert operators(result)["LayerNormalization"] == 0
    np.testing.assert_allclose(run(result, x), run(model, x), rtol=0, atol=1e-5)


def sigmoid_product(first, cubic):
    """x * sigmoid(first * x + cubic * x * x * x)."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["square", "cubic"], ["curve"]),
        helper.make_node("Add", ["curve", "first"], ["slope"]),
        helper.make_node("Mul", ["slope", "x"], ["argument"]),
        helper.make_node("Sigmoid", ["argument"], ["gate"]),
        helper.make_node("Mul", ["gate", "x"], ["y"]),
    ]
    values = [helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in (("first", first), ("cubic", cubic))]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [50]) for name in "xy")
    graph = helper.make_graph(nodes, "test", [x], [y], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)


@pytest.mark.parametrize(
    ("first", "cubic", "gelu"),
    [(1.5957691216057308, 0.07135481627, True), (1.702, 0.07135481627, False), (1.5957691216057308, 0.08, False)],
)
def test_only_gelu_itself_is_taken_for_it(first, cubic, gelu):
    model = sigmoid_product(first, cubic)
    result = optimized(model)
    assert ("FastGelu" in operators(result)) == gelu
    x = np.linspace(-6, 6, 50).astype(np.float32)
    np.testing.assert_allclose(run(result, x), run(model, x), rtol=0, atol=1e-5)
