"""Images -> batches, by ``mindspore.dataset``."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.images import Images


def pipeline(images: Images, recipe: Mapping[str, Any], batch_size: int, *, training: bool) -> Any:
    """A MindSpore dataset of batches of normalised images and labels.

    Args:
        images: the split.
        recipe: the recipe, for size, normalisation and augmentation.
        batch_size: images in a batch.
        training: whether to shuffle and augment, anew in each pass and by MindSpore's dataset seed, and to drop an
            incomplete last batch if the recipe says so; else every image comes once, in the order of ``images``.

    Returns:
        A dataset with the columns ``image``, float32 of (batch, channels, size, size), and ``label``, int32.
    """
    from mindspore import dataset
    from mindspore.dataset import vision

    size = recipe["image_size"]
    mean, std = ([255.0 * value for value in recipe[key]] for key in ("mean", "std"))
    operations = [
        *([vision.Decode()] if images.encoded else []),
        vision.Resize(math.floor(size / recipe["crop_pct"]), vision.Inter[recipe["interpolation"].upper()]),
        vision.CenterCrop(size),
        *([_random_affine(**recipe["random_affine"])] if training and "random_affine" in recipe else []),
        vision.Normalize(mean, std),
        vision.HWC2CHW(),
    ]
    data = dataset.GeneratorDataset(images, ["image", "label"], shuffle=training, python_multiprocessing=False)
    data = data.map(operations, input_columns="image")
    return data.batch(batch_size, drop_remainder=training and recipe["drop_remainder"])


def _random_affine(degrees: float, translate: float, scale: float) -> Any:
    from mindspore.dataset import vision

    shift = (-translate, translate) * 2
    bilinear = vision.Inter.BILINEAR
    return vision.RandomAffine(degrees, shift, (1 - scale, 1 + scale), resample=bilinear)


def batches(images: Images, recipe: Mapping[str, Any], batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Images and labels in batches, as NumPy arrays, every image once and in order.

    Raises:
        HubpkgError: an image can't be read; names it.
    """
    data = pipeline(images, recipe, batch_size, training=False)
    with explained(images):
        yield from data.create_tuple_iterator(num_epochs=1, output_numpy=True)


@contextmanager
def explained(images: Images) -> Iterator[None]:
    """Say of a pipeline that fails which of its images can't be read, in place of MindSpore's many lines."""
    try:
        yield
    except RuntimeError as error:
        for index in range(len(images)):
            images.read(index)  # raises what there is to say
        lines = [line for line in str(error).splitlines() if "[ERROR]" in line] or str(error).splitlines()
        raise HubpkgError(f"expected images that MindSpore can decode and resize, found: {lines[0]}") from None
