"""AdamW, against its definition."""

import mindspore
import numpy as np
import pytest
from mindspore import nn

from hubpkg.runtime.optimizer import adamw


@pytest.mark.compat
def test_the_steps_are_those_of_adamw():
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    generator = np.random.default_rng(0)
    network = nn.Dense(3, 2)
    optimizer = adamw(network, rates := [0.1, 0.2, 0.05, 0.1], 0.3)
    expected = {p.name: p.asnumpy().astype(np.float64) for p in network.trainable_params()}
    first = dict.fromkeys(expected, 0.0)
    second = dict.fromkeys(expected, 0.0)
    for step, rate in enumerate(rates, start=1):
        gradients = [generator.standard_normal(p.shape).astype(np.float32) for p in network.trainable_params()]
        optimizer(tuple(mindspore.Tensor(gradient) for gradient in gradients))
        for parameter, gradient in zip(network.trainable_params(), gradients, strict=True):
            name = parameter.name
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            move = (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)
            decay = 0.3 if parameter.ndim > 1 else 0.0
            expected[name] = expected[name] - rate * (move + decay * expected[name])
            np.testing.assert_allclose(parameter.asnumpy(), expected[name], atol=1e-5)
