"""The datasets: which images, in which order, with which pixels."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hubpkg.errors import HubpkgError
from hubpkg.runtime import datasets
from hubpkg.spec import read_spec


def test_digits_is_split_once_and_for_all_by_class():
    train, test = (datasets.find("digits").images(split, None) for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert sorted([*train.names, *test.names]) == [f"{index:04d}" for index in range(1797)]
    counts = Counter(test.labels)
    for label, count in Counter([*train.labels, *test.labels]).items():
        assert abs(counts[label] - count / 5) < 1
    assert test.names[:3] == ["0021", "0024", "0028"]


def test_a_dataset_that_is_not_known_is_refused():
    with pytest.raises(HubpkgError, match=r"digits, imagenet2012.*'cifar'"):
        datasets.find("cifar")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    generator = np.random.default_rng(0)
    for index in range(1000):
        synset = folder / "val" / f"n{index:08d}"
        synset.mkdir(parents=True)
        pixels = generator.integers(0, 256, (40 + index % 9, 48 - index % 11, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(synset / f"ILSVRC2012_val_{index:08d}.JPEG")
    return folder


def test_imagenet_labels_are_the_synsets_places(imagenet):
    images = datasets.find("imagenet2012").images("test", imagenet)
    assert list(images.labels) == list(range(1000))
    assert images.names[7] == "n00000007/ILSVRC2012_val_00000007.JPEG"


def test_imagenet_pixels_are_those_of_mindcv(imagenet):
    from mindcv.data import create_transforms

    recipe = read_spec("xcit_tiny_12_p16_224", "imagenet2012").recipe
    images = datasets.find("imagenet2012").images("test", imagenet)
    ours = datasets.pipeline(images, recipe, 10, training=False)
    batch = next(ours.create_tuple_iterator(num_epochs=1, output_numpy=True))[0]
    transforms = create_transforms(
        "imagenet", is_training=False, image_resize=224, crop_pct=0.875, interpolation="bicubic"
    )
    for index in range(10):
        expected = images.read(index)
        for transform in transforms:
            expected = transform(expected)
        np.testing.assert_array_equal(batch[index], expected)


def test_every_image_comes_once_in_order(imagenet):
    recipe = {**read_spec("xcit_tiny_12_p16_224", "imagenet2012").recipe, "image_size": 32}
    images = datasets.find("imagenet2012").images("test", imagenet)
    batches = datasets.pipeline(images, recipe, 64, training=False)
    labels = [label for _, batch in batches.create_tuple_iterator(num_epochs=1, output_numpy=True) for label in batch]
    assert labels == list(range(1000))


def test_the_fingerprint_changes_with_a_byte(imagenet):
    fingerprint = datasets.find("imagenet2012").fingerprint
    before = fingerprint(imagenet)
    file = imagenet / "val" / "n00000500" / "ILSVRC2012_val_00000500.JPEG"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fingerprint(imagenet) != before
    file.write_bytes(content)
    assert fingerprint(imagenet) == before


@pytest.mark.parametrize("missing", ["folder", "images"])
def test_a_missing_synset_is_refused(missing, tmp_path):
    for index in range(1000 - (missing == "folder")):
        (tmp_path / "val" / f"n{index:08d}").mkdir(parents=True)
    found = {"folder": "found 999", "images": "found some in 0"}[missing]
    with pytest.raises(HubpkgError, match=f"expected .*1,000 synset folders.*{found}"):
        datasets.find("imagenet2012").images("test", tmp_path)


def first_batch(recipe, *, training):
    from mindspore import dataset

    dataset.config.set_seed(1)
    images = datasets.find("digits").images("train", None)
    return next(datasets.pipeline(images, recipe, 64, training=training).create_tuple_iterator(output_numpy=True))


def test_training_images_are_moved_at_random_by_the_seed_and_test_images_are_not():
    recipe = dict(read_spec("xcit_tiny_12_p16_224", "digits").recipe)
    plain = {key: value for key, value in recipe.items() if key != "random_affine"}
    moved, again, still = (first_batch(r, training=True) for r in (recipe, recipe, plain))
    np.testing.assert_array_equal(moved[0], again[0])
    np.testing.assert_array_equal(moved[1], still[1])
    assert np.abs(moved[0] - still[0]).mean() > 0.05
    np.testing.assert_array_equal(first_batch(recipe, training=False)[0], first_batch(plain, training=False)[0])
    assert moved[0].shape == (64, 1, 32, 32)
    assert moved[0].min() >= -1 - 1e-6
    assert moved[0].max() <= 1 + 1e-6
