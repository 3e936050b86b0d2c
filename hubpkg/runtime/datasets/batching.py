"""Samples -> batches; images by ``mindspore.dataset``."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.augmentation import central_crop
from hubpkg.runtime.datasets.images import Images, targets


def pipeline(images: Images, recipe: Mapping[str, Any], batch_size: int) -> Any:
    """A MindSpore dataset of batches of normalised images and labels, every image once and in order.

    Args:
        images: the split.
        recipe: the recipe, for size and normalisation.
        batch_size: images in a batch; the last one may hold fewer.

    Returns:
        A dataset with the columns ``image``, float32 of (batch, channels, size, size), and ``label``.
    """
    from mindspore import dataset
    from mindspore.dataset import vision

    mean, std = ([255.0 * value for value in recipe[key]] for key in ("mean", "std"))
    operations = [
        *([vision.Decode()] if images.encoded else []),
        *central_crop(recipe),
        vision.Normalize(mean, std),
        vision.HWC2CHW(),
    ]
    data = dataset.GeneratorDataset(images, ["image", "label"], shuffle=False, python_multiprocessing=False)
    return data.map(operations, input_columns="image").batch(batch_size)


def batches(images: Images, recipe: Mapping[str, Any], batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Inputs and labels in batches, as NumPy arrays, every image or other sample once and in order.

    Raises:
        HubpkgError: an image can't be read; names it.
    """
    if not recipes.of_images(recipe):
        for start in range(0, len(images), batch_size):
            chosen = range(start, min(start + batch_size, len(images)))
            yield np.stack([images.read(index) for index in chosen]), targets([images.labels[i] for i in chosen])
        return
    data = pipeline(images, recipe, batch_size)
    with explained():
        yield from data.create_tuple_iterator(num_epochs=1, output_numpy=True)


@contextmanager
def explained() -> Iterator[None]:
    """Say of a pipeline that fails what Python code in it raised, in place of MindSpore's many lines."""
    try:
        yield
    except RuntimeError as error:
        lines = str(error).splitlines()
        raised = re.findall(r"^(?:\w+\.)*(\w+Error: .+)$", str(error), re.MULTILINE)
        told = [*reversed(raised), *(line for line in lines if "[ERROR]" in line), *lines, repr(error)][0]
        ours = told.removeprefix(f"{HubpkgError.__name__}: ")
        if ours != told:
            raise HubpkgError(ours) from None
        if "MemoryError" in str(error):  # NumPy's can't be raised again by MindSpore, which makes a TypeError of it
            raise HubpkgError(
                "expected memory enough for images and their batches, found too little; try a smaller batch_size, in "
                "training with grad_accumulation"
            ) from None
        raise HubpkgError(f"expected images that MindSpore can decode and resize, found: {told}") from None
