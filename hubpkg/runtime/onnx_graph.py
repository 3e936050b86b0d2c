"""An exported graph, in the operators that ONNX Runtime has fast kernels for.

MindSpore exports layer normalisation and GELU in parts, in a form that ONNX Runtime's own fusions do not know. The
result is for ONNX Runtime alone: ``FastGelu`` is its own operator, and it takes ``LayerNormalization`` at any opset.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

_SLOPE = np.sqrt(8 / np.pi)
_GELU = Polynomial([0, _SLOPE, 0, 0.044715 * _SLOPE])  # GELU's tanh approximation is x * sigmoid(this of x)
_AFTER_SQUARES = ("Div", "Add", "Sqrt", "Div", "Mul", "Add")  # of a layer normalisation


def optimized(model: ModelProto) -> ModelProto:
    """A copy of ``model`` that computes the same, to rounding: each normalisation and each GELU as one node."""
    graph = _Graph(model)
    found: dict[str, NodeProto] = {}
    for node in graph.nodes:
        fused = _layer_norm(graph, node) or _layer_norm_by_products(graph, node) or _gelu(graph, node)
        if fused is not None:
            found[fused.output[0]] = fused
    outputs = {output.name for output in model.graph.output}
    nodes = list(_needed([found.get(node.output[0], node) for node in graph.nodes], outputs))[::-1]
    used = {name for node in nodes for name in node.input}
    values = [value for value in model.graph.initializer if value.name in used]
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(values)
    result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


class _Graph:
    """A graph without copies of values, in which one can look up who makes a value and who takes it."""

    def __init__(self, model: ModelProto) -> None:
        inferred = shape_inference.infer_shapes(model).graph
        self._types = {value.name: value.data_type for value in model.graph.initializer}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            self._types[value.name] = value.type.tensor_type.elem_type
        self.nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
        self.maker = {name: node for node in self.nodes for name in node.output}
        self._constants = {value.name: value for value in model.graph.initializer}
        self._takers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
            for place, name in enumerate(node.input):
                node.input[place] = self._original(name)
                self._takers.setdefault(node.input[place], []).append(node)

    def _original(self, name: str) -> str:
        node = self.maker.get(name)
        if node is None or node.op_type not in ("Identity", "Cast"):
            return name
        copied = node.op_type == "Identity" or self._types.get(node.input[0]) == node.attribute[0].i
        return self._original(node.input[0]) if copied else name

    def takers(self, name: str, operator: str) -> list[NodeProto]:
        """The nodes of that operator that take the value ``name``."""
        return [node for node in self._takers.get(name, []) if node.op_type == operator]

    def made_by(self, operator: str, name: str) -> list[str]:
        """What a node of that operator makes the value ``name`` of, nothing transposed; empty if none does."""
        node = self.maker.get(name)
        if node is None or node.op_type != operator:
            return []
        return [] if any(_attribute(node, key) for key in ("transA", "transB")) else list(node.input)

    def constant(self, name: str) -> NDArray[np.float32] | None:
        """The value of a constant."""
        found = self._constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def scalar(self, name: str) -> float | None:
        """The value of a constant of one element."""
        array = self.constant(name)
        return float(array.item()) if array is not None and array.size == 1 else None


def _attribute(node: NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), None)


def _other(node: NodeProto, name: str) -> str:
    """The one of two inputs that is not ``name``."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def _layer_norm(graph: _Graph, squares: NodeProto) -> NodeProto | None:
    """The normalisation over the last axis that has ``squares`` as the sum of squares in it."""
    if squares.op_type != "ReduceSumSquare":
        return None
    centred = graph.maker.get(squares.input[0])
    mean = graph.maker.get(centred.input[1]) if centred is not None and centred.op_type == "Sub" else None
    if centred is None or mean is None or mean.op_type != "ReduceMean" or mean.input[0] != centred.input[0]:
        return None
    chain, value = [], squares.output[0]
    for operator in _AFTER_SQUARES:
        takers = graph.takers(value, operator)
        if len(takers) != 1:
            return None
        chain.append(takers[0])
        value = takers[0].output[0]
    divided, variance, deviation, normalised, rescaled, shifted = chain
    gamma, beta = _other(rescaled, normalised.output[0]), _other(shifted, rescaled.output[0])
    weights, axes, epsilon = graph.constant(gamma), _attribute(squares, "axes"), graph.scalar(variance.input[1])
    if list(normalised.input) != [squares.input[0], deviation.output[0]] or len(axes) != 1 or epsilon is None:
        return None
    if weights is None or graph.scalar(divided.input[1]) != weights.size:
        return None
    return helper.make_node(
        "LayerNormalization", [mean.input[0], gamma, beta], list(shifted.output), axis=axes[0], epsilon=epsilon
    )


def _layer_norm_by_products(graph: _Graph, shifted: NodeProto) -> NodeProto | None:
    """The normalisation of rows that ends with ``shifted``, in which products spread mean and scale over the rows."""
    try:
        rescaled, beta = shifted.input if shifted.op_type == "Add" else []
        centred, scale = graph.made_by("Mul", rescaled)
        inverse, row = graph.made_by("Gemm", scale)
        gamma, _ = graph.made_by("Reshape", row)
        one, deviation = graph.made_by("Div", inverse)
        (variance,) = graph.made_by("Sqrt", deviation)
        mean_square, epsilon_name = graph.made_by("Add", variance)
        (squares,) = graph.made_by("ReduceMean", mean_square)
        x, spread = graph.made_by("Sub", centred)
        mean, ones_name = graph.made_by("Gemm", spread)
        averaged = graph.made_by("ReduceMean", mean)
    except ValueError:  # another operator, or one with other inputs
        return None
    ones, epsilon = graph.constant(ones_name), graph.scalar(epsilon_name)
    axes = [_attribute(graph.maker[name], "axes") for name in (mean, mean_square)]
    if averaged != [x] or graph.made_by("Mul", squares) != [centred, centred] or axes != [[-1], [-1]]:
        return None
    if epsilon is None or ones is None or not (ones == 1).all() or graph.scalar(one) != 1:
        return None
    return helper.make_node("LayerNormalization", [x, gamma, beta], list(shifted.output), axis=-1, epsilon=epsilon)


def _gelu(graph: _Graph, sigmoid: NodeProto) -> NodeProto | None:
    """The GELU, by its tanh approximation, that has ``sigmoid`` in it."""
    products = graph.takers(sigmoid.output[0], "Mul") if sigmoid.op_type == "Sigmoid" else []
    if len(products) != 1:
        return None
    x = _other(products[0], sigmoid.output[0])
    polynomial = _polynomial(graph, sigmoid.input[0], x)
    if polynomial is None or not np.allclose((polynomial - _GELU).coef, 0, atol=1e-5):
        return None
    return helper.make_node("FastGelu", [x], list(products[0].output), domain="com.microsoft")


def _polynomial(graph: _Graph, name: str, x: str) -> Polynomial | None:
    """The value ``name`` as a polynomial of ``x``; None if it is none."""
    if name == x:
        return Polynomial([0, 1])
    scalar, node = graph.scalar(name), graph.maker.get(name)
    if scalar is not None:
        return Polynomial([scalar])
    if node is None or node.op_type not in ("Add", "Mul"):
        return None
    first, second = (_polynomial(graph, part, x) for part in node.input)
    if first is None or second is None:
        return None
    combined: Polynomial = first + second if node.op_type == "Add" else first * second
    return combined


def _needed(nodes: Sequence[NodeProto], outputs: set[str]) -> Iterator[NodeProto]:
    """Those that the outputs depend on, last one first."""
    needed = set(outputs)
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed |= set(node.input)
            yield node
