"""The batches that a network is trained on: their order, and how they are made.

Everything random is drawn anew from the recipe's seed and the epoch, the image or the step, so that a batch is the
same whichever thread makes it, and wherever the stream begins.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets import augmentation, mixing
from hubpkg.runtime.datasets.images import Images, targets

_ORDER, _IMAGE, _MIX = 1, 2, 3  # what is drawn; not 0, as NumPy's seeds [1] and [1, 0] are one


def steps_per_epoch(count: int, recipe: Mapping[str, Any], size: int) -> int:
    """How many batches ``size`` processes make together of ``count`` images.

    Raises:
        HubpkgError: the images do not fill one, or leave a last one that the processes can't share evenly.
    """
    whole: int = recipe["batch_size"] * size
    steps, rest = divmod(count, whole)
    if not steps:
        shared = f", shared by {size} processes" if size > 1 else ""
        raise HubpkgError(
            f"batch_size: expected at most the {count} training images of {recipe['dataset']}{shared}, "
            f"found {recipe['batch_size']}"
        )
    if recipe["drop_remainder"]:
        return steps
    if rest % size:
        raise HubpkgError(
            f"drop_remainder: expected true, or {count} training images of {recipe['dataset']} to leave a last batch "
            f"that {size} processes can share, found {rest} images in it"
        )
    return math.ceil(count / whole)


def stream(images: Images, recipe: Mapping[str, Any], *, start: int, rank: int = 0, size: int = 1) -> Any:
    """A MindSpore dataset of the batches of one process, from a step on to the recipe's last.

    Each epoch takes every image once, in an order of its own. Of the batch that ``size`` processes share, process
    ``rank`` has the images ``rank``, ``rank + size`` and so on.

    Args:
        images: those to train on.
        recipe: the recipe.
        start: the first step, counted from 0 over all epochs, and less than all steps.
        rank: number of this process, from 0.
        size: number of processes.

    Returns:
        A dataset with the columns ``image``, float32 of (batch, channels, size, size), or what the rows of other
        inputs are, and ``target``: labels, int32 of (batch,); where the recipe mixes images, float32 of
        (batch, classes); of a regression, float32 of (batch, outputs). Its size is the number of steps.

    Raises:
        HubpkgError: the images do not make batches.
    """
    from mindspore import dataset

    steps = range(start, recipe["epochs"] * steps_per_epoch(len(images), recipe, size))
    data = dataset.GeneratorDataset(steps, ["step"], shuffle=False, python_multiprocessing=False)
    # Threads, as nearly all of the work leaves Python's lock to others.
    return data.map(_batches(images, recipe, rank, size), ["step"], ["image", "target"], python_multiprocessing=False)


Array = NDArray[Any]
Draw = Callable[[int], Generator]  # what is random of the image at an index


def _batches(images: Images, recipe: Mapping[str, Any], rank: int, size: int) -> Callable[[Any], tuple[Array, Array]]:
    """The function from a step to its batch."""
    epoch_steps = steps_per_epoch(len(images), recipe, size)
    labels = targets(images.labels)
    whole = recipe["batch_size"] * size
    inputs = _changed_images(images, recipe) if recipes.of_images(recipe) else _rows(images)

    def generator(*key: int) -> Generator:
        return default_rng([recipe["seed"], *key])

    @lru_cache(maxsize=2)  # the last batches of an epoch and the first ones of the next are made at the same time
    def order(epoch: int) -> NDArray[np.int64]:
        return generator(epoch, _ORDER).permutation(len(images))

    def batch(step: Any) -> tuple[Array, Array]:
        epoch, place = divmod(int(step), epoch_steps)
        chosen = order(epoch)[place * whole : (place + 1) * whole][rank::size]
        made = inputs(chosen.tolist(), lambda index: generator(epoch, _IMAGE, index))
        if not recipes.mixes(recipe):
            return made, labels[chosen]
        mix = mixing.draw(recipe, generator(epoch, _MIX, place))
        mixing.mix_images(made, mix)
        return made, mixing.soft_targets(labels[chosen], recipe["num_classes"], mix)

    return batch


def _rows(images: Images) -> Callable[[list[int], Draw], Array]:
    """The function from indices to what they hold, as it is."""
    return lambda chosen, _: np.stack([images.read(index) for index in chosen])


def _changed_images(images: Images, recipe: Mapping[str, Any]) -> Callable[[list[int], Draw], Array]:
    """The function from indices to their images, changed as the recipe says and normalised."""
    shape = recipes.input_shape(recipe)
    augmented, normalised = augmentation.augmentation(recipe), augmentation.normalisation(recipe)

    def changed(chosen: list[int], draw: Draw) -> Array:
        made = np.empty((len(chosen), *shape), np.float32)
        for out, index in zip(made, chosen, strict=True):
            data, random = images.read(index), draw(index)
            try:
                pixels = augmented(augmentation.opened(data) if images.encoded else data, random)
            except (OSError, RuntimeError) as error:  # Pillow's, MindSpore's
                lines = [line for line in str(error).splitlines() if "[ERROR]" in line] or [str(error)]
                raise HubpkgError(
                    f"{images.place(index)}: expected an image that can be decoded and changed as the recipe says, "
                    f"found: {lines[0]}"
                ) from None
            normalised(pixels, random, out)
        return made

    return changed
