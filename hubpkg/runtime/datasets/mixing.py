"""Mixup and CutMix: the images of a batch mixed in pairs, and their targets.

An image is mixed with the one half a batch further on. Images of a batch come in random order, so any fixed pairing
does; this one pairs the same images however many processes share the batch. As in MindCV, one kind, one share and one
box are drawn for a batch, and label smoothing is left to the loss.

Sources: Zhang et al., mixup: Beyond empirical risk minimization; Yun et al., CutMix: Regularization strategy to train
strong classifiers with localizable features.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed.

    Attributes:
        share: of an image's own pixels and label in what it becomes.
        box: top, bottom, left and right of the part that comes from the other image, in CutMix; None in mixup.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw(recipe: Mapping[str, Any], generator: Generator) -> Mix:
    """The mix of one batch: mixup or CutMix, with a probability of one half each where the recipe has both."""
    mixup, cutmix = recipe.get("mixup", 0), recipe.get("cutmix", 0)
    if mixup and (not cutmix or generator.random() < 0.5):  # noqa: PLR2004 - one half
        return Mix(generator.beta(mixup, mixup))
    size = recipe["image_size"]
    return cut(size, generator.beta(cutmix, cutmix), *generator.integers(size, size=2).tolist())


def cut(size: int, share: float, row: int, column: int) -> Mix:
    """CutMix with a square around a pixel that leaves about ``share`` of an image of side ``size``.

    What of the square is outside is cut off, and the share becomes what is left.
    """
    half = int(size * math.sqrt(1 - share)) // 2
    top, bottom, left, right = (min(max(x, 0), size) for x in (row - half, row + half, column - half, column + half))
    return Mix(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def mix_images(images: NDArray[np.float32], mix: Mix) -> None:
    """Mix images of shape (B, C, H, W), B even, in place."""
    half = len(images) // 2
    for first, second in zip(images[:half], images[half:], strict=True):  # one pair fits a core's cache
        if mix.box is None:
            difference = (first - second) * np.float32(1 - mix.share)
            np.subtract(first, difference, out=first)
            np.add(second, difference, out=second)
        else:
            top, bottom, left, right = mix.box
            part = first[:, top:bottom, left:right].copy()
            first[:, top:bottom, left:right] = second[:, top:bottom, left:right]
            second[:, top:bottom, left:right] = part


def soft_targets(labels: NDArray[np.int32], classes: int, mix: Mix) -> NDArray[np.float32]:
    """The targets of a batch so mixed, of shape (B, classes)."""
    targets = np.zeros((len(labels), classes), np.float32)
    rows = np.arange(len(labels))
    targets[rows, labels] = mix.share
    targets[rows, np.roll(labels, -(len(labels) // 2))] += np.float32(1 - mix.share)
    return targets
