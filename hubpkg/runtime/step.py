"""One training step: a batch to a loss, its gradients, and new weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import mindspore
from mindspore import Parameter, Tensor, amp, nn, ops

from hubpkg import recipe as recipes
from hubpkg.runtime.optimizer import adamw

_DYNAMIC_SCALE = 65536.0  # that a dynamic loss scale begins with
_DYNAMIC_WINDOW = 2000  # steps without an overflow after which it doubles
# MindSpore's own O1 rewrites sources, and knows no functions such as softmax; auto casts such operators as it compiles.
_LEVELS = {"O1": "auto"}
_EMA_WARMUP = 2000  # updates after which an average has about its full decay, as MindCV has it

_squares = ops.MultitypeFuncGraph("squares")
_divided = ops.MultitypeFuncGraph("divided")
_added = ops.MultitypeFuncGraph("added")
_cleared = ops.MultitypeFuncGraph("cleared")
_averaged = ops.MultitypeFuncGraph("averaged")


@_squares.register("Tensor")  # type: ignore[untyped-decorator]
def _squares_tensor(gradient: Any) -> Any:
    return ops.square(ops.cast(gradient, mindspore.float32)).sum()


@_divided.register("Tensor", "Tensor")  # type: ignore[untyped-decorator]
def _divided_tensor(divisor: Any, gradient: Any) -> Any:
    return ops.cast(gradient, mindspore.float32) / divisor


@_added.register("Tensor", "Tensor")  # type: ignore[untyped-decorator]
def _added_tensor(total: Any, gradient: Any) -> Any:
    return ops.assign_add(total, gradient)


@_cleared.register("Tensor")  # type: ignore[untyped-decorator]
def _cleared_tensor(total: Any) -> Any:
    return ops.assign(total, ops.zeros_like(total))


@_averaged.register("Tensor", "Tensor", "Tensor")  # type: ignore[untyped-decorator]
def _averaged_tensor(decay: Any, average: Any, weight: Any) -> Any:
    return ops.assign(average, average + (weight - average) * (1 - decay))  # of a frozen weight exactly itself


class WithLoss(nn.Cell):  # type: ignore[misc]
    """A network and its loss, which is computed in float32 whatever the network computes in."""

    def __init__(self, network: Any, recipe: Mapping[str, Any]) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        if recipes.is_regression(recipe):
            self.loss = {"mse": nn.MSELoss, "l1": nn.L1Loss}[recipes.loss(recipe)]()
        else:
            self.loss = nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])

    def construct(self, images: Any, targets: Any, *keep: Any) -> Any:
        return self.loss(ops.cast(self.network(images, *keep), mindspore.float32), targets)


class Step(nn.Cell):  # type: ignore[misc]
    """One step of training, by a recipe.

    With ``grad_accumulation`` several steps make one update of the weights.

    Args:
        network: a cell, images of shape (B, channels, size, size), or what the recipe's inputs are, to logits of shape
            (B, classes) or a regression's numbers, (B, outputs); changed by the recipe's ``amp_level``.
        recipe: the recipe, for loss, optimizer, precision, accumulation, clipping and averages.
        rates: the learning rate of each update.

    Inputs:
        images, targets: a batch; targets are classes, int32 of shape (B,), or their probabilities, float32 of shape
            (B, classes); of a regression float32 of shape (B, outputs).
        keep: with ``drop_path``, the network's own further input.

    Outputs:
        loss, norm of the gradients before clipping (of those that were added up, where they are), loss scale, and
        whether the weights were left alone since gradients were not finite.
    """

    def __init__(self, network: Any, recipe: Mapping[str, Any], rates: Sequence[float]) -> None:
        super().__init__(auto_prefix=False)
        level = recipe.get("amp_level", "O0")
        self.network = WithLoss(network, recipe)
        if level != "O0":
            amp.auto_mixed_precision(network, _LEVELS.get(level, level))
        self.map = ops.HyperMap()
        self.optimizer = adamw(network, rates, recipe["weight_decay"])
        weights = self.optimizer.parameters  # those that are trained, in the network's order
        self.gradients = ops.GradOperation(get_by_list=True, sens_param=True)
        self.weights = weights
        devices = recipe.get("devices", 1)
        self.shared = nn.DistributedGradReducer(weights, mean=True, degree=devices) if devices > 1 else None
        scale = recipe.get("loss_scale", 1.0)
        self.dynamic = scale == "dynamic"
        self.scale = Parameter(Tensor(_DYNAMIC_SCALE if self.dynamic else scale, mindspore.float32), name="loss_scale")
        self.good = Parameter(Tensor(0, mindspore.int32), name="steps_without_overflow")
        self.clip = recipe.get("clip_norm")
        self.every = recipe.get("grad_accumulation", 1)
        if self.every > 1:
            self.count = Parameter(Tensor(0, mindspore.int32), name="steps_added_up")
            self.totals = weights.clone("total", init="zeros")
        self.decay = recipe.get("ema_decay")
        if self.decay is not None:
            self.averaging = mindspore.ParameterTuple(network.get_parameters())
            self.averages = self.averaging.clone("average", init="same")
            self.updates = Parameter(Tensor(0.0, mindspore.float32), name="averaged_updates")
        self.set_train()

    def construct(self, images: Any, targets: Any, *keep: Any) -> Any:
        loss = self.network(images, targets, *keep)
        scale = self.scale + 0.0
        gradients = self.gradients(self.network, self.weights)(images, targets, *keep, scale)
        gradients = self.map(ops.partial(_divided, scale * self.every), gradients)
        if self.every > 1:
            return self.added(loss, scale, gradients)
        return self.updated(loss, scale, gradients)

    def added(self, loss: Any, scale: Any, gradients: Any) -> Any:
        """Add the gradients to those of the steps before, and update the weights when there are enough of them."""
        loss = ops.depend(loss, self.map(_added, self.totals, gradients))
        count = ops.assign_add(self.count, 1)
        result = (loss, self.norm(self.totals), scale, Tensor(False))  # noqa: FBT003 - a value
        if count >= self.every:
            result = self.updated(loss, scale, self.totals)
            ops.assign(self.count, 0)
            self.map(_cleared, self.totals)
        return result

    def updated(self, loss: Any, scale: Any, gradients: Any) -> Any:
        """Update weights and averages by ``gradients``, if these are finite."""
        if self.shared is not None:
            gradients = self.shared(gradients)
        norm = self.norm(gradients)
        finite = ops.isfinite(norm)
        if finite:
            if self.clip is not None:
                gradients = self.map(ops.partial(_divided, ops.maximum(norm / self.clip, 1.0)), gradients)
            loss = ops.depend(loss, self.optimizer(gradients))
            if self.decay is not None:
                self.average()
        if self.dynamic:
            self.rescale(finite)
        return loss, norm, scale, ops.logical_not(finite)

    def norm(self, gradients: Any) -> Any:
        """The Euclidean norm of all gradients together."""
        return ops.sqrt(ops.addn(self.map(_squares, gradients)))

    def average(self) -> None:
        """Move each average towards its weight, faster at first, when weights change fast."""
        updates = ops.assign_add(self.updates, 1.0)
        decay = self.decay * (1 - ops.exp(-updates / _EMA_WARMUP))
        self.map(ops.partial(_averaged, decay), self.averages, self.averaging)

    def rescale(self, finite: Any) -> None:
        """Halve the loss scale after an overflow, and double it after many steps without one."""
        good = ops.assign(self.good, ops.select(finite, self.good + 1, ops.zeros_like(self.good)))
        grown = ops.select(good >= _DYNAMIC_WINDOW, self.scale * 2, self.scale)
        ops.assign(self.scale, ops.select(finite, grown, ops.maximum(self.scale / 2, 1.0)))
        ops.assign(self.good, ops.select(good >= _DYNAMIC_WINDOW, ops.zeros_like(good), good))
