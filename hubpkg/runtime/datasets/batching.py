"""Images -> batches, by ``mindspore.dataset``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.augmentation import central_crop
from hubpkg.runtime.datasets.images import Images


def pipeline(images: Images, recipe: Mapping[str, Any], batch_size: int) -> Any:
    """A MindSpore dataset of batches of normalised images and labels, every image once and in order.

    Args:
        images: the split.
        recipe: the recipe, for size and normalisation.
        batch_size: images in a batch; the last one may hold fewer.

    Returns:
        A dataset with the columns ``image``, float32 of (batch, channels, size, size), and ``label``, int32.
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
    """Images and labels in batches, as NumPy arrays, every image once and in order.

    Raises:
        HubpkgError: an image can't be read; names it.
    """
    data = pipeline(images, recipe, batch_size)
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
