"""AdamW (I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101) on MindSpore's kernel."""

from collections.abc import Sequence
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def adamw(network: Any, rates: Sequence[float], weight_decay: float) -> Any:
    """An optimizer of the trainable parameters of ``network``.

    MindSpore's ``AdamWeightDecay`` has a fused kernel but no bias correction, so its first steps are several times as
    long as Adam's. The correction of step t is a factor, sqrt(1 - beta2^t) / (1 - beta1^t): the learning rate takes it
    in, and the weight decay, which the kernel multiplies by the learning rate, gives it back.

    Args:
        network: a cell.
        rates: the learning rate of each step.
        weight_decay: for matrices and kernels; biases and scales, of one dimension, go without.
    """
    steps = np.arange(1, len(rates) + 1)
    correction = np.sqrt(1 - BETA2**steps) / (1 - BETA1**steps)
    decayed = [parameter for parameter in network.trainable_params() if parameter.ndim > 1]
    others = [parameter for parameter in network.trainable_params() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": _Schedule(weight_decay / correction)},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]  # with others frozen, there may be none of a kind
    groups.append({"order_params": network.trainable_params()})
    scaled = [float(rate) for rate in np.asarray(rates) * correction]
    return nn.AdamWeightDecay(groups, scaled, BETA1, BETA2, EPSILON)


class _Schedule(nn.Cell):  # type: ignore[misc]
    """A value for each step."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values = Tensor(np.asarray(values), mindspore.float32)

    def construct(self, step: Any) -> Any:
        return self.values[step]
