"""Augmentation of single images: MindCV's pixels for the same numbers, and MindCV's distributions of these numbers."""

import io
import itertools
import random

import numpy as np
import pytest
from mindspore import dataset
from mindspore.dataset import vision
from mindspore.dataset.vision import Inter
from PIL import Image
from scipy.stats import binomtest, ks_2samp, kstest, norm

from hubpkg.runtime.datasets import augmentation
from hubpkg.spec import read_spec

mindcv = pytest.importorskip("mindcv.data.auto_augment", reason="MindCV, the oracle, is not installed")

RECIPE = read_spec("xcit_tiny_12_p16_224", "imagenet2012").recipe
DIGITS = read_spec("xcit_tiny_12_p16_224", "digits").recipe
FILL = (124, 116, 104)  # the mean, rounded, as MindCV takes it
NAMES = [operation.name for operation in mindcv.rand_augment_transform("randaug-m9", {}).ops]


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def draws():
    """Makes one of MindSpore's random operators draw anew at each call, and the same in each run."""
    before = dataset.config.get_seed()

    def drawing(operator):
        seeds = itertools.count(1)

        def call(pixels):
            seed = next(seeds)
            dataset.config.set_seed(seed)
            random.seed(seed)
            return operator(pixels)

        return call

    yield drawing
    dataset.config.set_seed(before)


def photo(height=60, width=80, channels=3):
    """Smooth random pixels, of all brightnesses."""
    coarse = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels[..., :channels])


INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
OPERATORS = {
    increasing: augmentation.randaugment_operators(FILL, Inter.BICUBIC, increasing=increasing)
    for increasing in (False, True)
}
LEVELS = [0, 1, 5, 8.6, 9, 9.3, 10]


@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_of_randaugment_has_mindcvs_pixels(name, increasing, monkeypatch):
    theirs = f"{name}Increasing" if increasing and name in INCREASING else name
    pixels, changed = photo(), set()
    for level in LEVELS:
        for sign in (1, -1):
            monkeypatch.setattr(mindcv, "_randomly_negate", lambda value, sign=sign: value * sign)
            hparams = {"img_mean": FILL, "interpolation": Inter.BICUBIC}
            expected = mindcv.AugmentOp(theirs, prob=1.0, magnitude=level, hparams=hparams)(pixels)
            found = OPERATORS[increasing][name](level / 10, sign)(pixels)
            # MindCV's operator for colours rounds otherwise, by one.
            np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1 if name == "Color" else 0)
            changed.add(found.tobytes())
    assert len(changed) > 1 or name in {"AutoContrast", "Equalize", "Invert"}


def test_the_operations_are_mindcvs_and_in_its_order():
    increasing = [operation.name for operation in mindcv.rand_augment_transform("randaug-m9-inc1", {}).ops]
    assert list(OPERATORS[False]) == NAMES
    assert [f"{name}Increasing" if name in INCREASING else name for name in OPERATORS[True]] == increasing


class Recorded:
    """Stands for the operators, and notes what each is given."""

    def __init__(self, monkeypatch):
        self.calls = []
        operators = {name: lambda *drawn, name=name: self.note(name, *drawn) for name in NAMES}
        monkeypatch.setattr(augmentation, "randaugment_operators", lambda *_, **__: operators)

    def note(self, name, level, sign):
        self.calls.append((name, level, sign))
        return lambda pixels: pixels


def record(monkeypatch, policy, count):
    recorded = Recorded(monkeypatch)
    changes = {"crop_scale": [1.0, 1.0], "image_size": 4, "hflip": 0, "auto_augment": policy}
    augmented, pixels = augmentation.augmentation({**RECIPE, **changes}), photo(4, 4)
    generator, counts = np.random.default_rng(7), []
    for _ in range(count):
        before = len(recorded.calls)
        augmented(pixels, generator)
        counts.append(len(recorded.calls) - before)
    return recorded.calls, counts


def test_operations_magnitudes_and_signs_are_drawn_as_the_policy_says(monkeypatch):
    calls, counts = record(monkeypatch, "randaug-m6-mstd0.5-inc1-n3", 4000)
    # Each of three operations is applied with a probability of one half.
    assert np.bincount(counts) / 4000 == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8], abs=0.03)
    names, levels, signs = zip(*calls, strict=True)
    for name in NAMES:
        assert binomtest(names.count(name), len(names), 1 / 14).pvalue > 1e-3
    assert kstest(np.multiply(levels, 10), norm(6, 0.5).cdf).pvalue > 0.01
    assert binomtest(signs.count(1), len(signs)).pvalue > 0.01


def test_magnitudes_end_at_ten(monkeypatch):
    calls, _ = record(monkeypatch, "randaug-m9-mstd2", 1000)
    levels = [level for _, level, _ in calls]
    assert max(levels) == 1.0
    assert np.mean(np.array(levels) == 1.0) == pytest.approx(norm(9, 2).sf(10), abs=0.05)
    assert min(levels) > 0
    calls, _ = record(monkeypatch, "randaug-m7-mstd0", 100)
    assert {level for _, level, _ in calls} == {0.7}


def places(count, height, width, make):
    """Where crops of an image lie that shows its coordinates: top, left, bottom, right of each, by ``make``."""
    rows, columns = np.indices((height, width)).astype(np.uint8)
    pixels = np.stack([rows, columns, rows], axis=2)
    crops = [make(pixels) for _ in range(count)]
    return np.array([(*crop[0, 0, :2], *crop[-1, -1, :2]) for crop in crops])


@pytest.mark.parametrize(("height", "width"), [(200, 250), (250, 30), (60, 250)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.9)])
def test_crops_are_distributed_as_mindspores(height, width, scale, draws):
    size, generator = 256, np.random.default_rng(11)
    theirs = draws(vision.RandomResizedCrop(size, scale, (0.75, 1.333), Inter.NEAREST))
    ours = augmentation.augmentation(
        {"image_size": size, "crop_scale": list(scale), "interpolation": "nearest"}  # a recipe's keys that matter
    )
    expected = places(2000, height, width, theirs)
    found = places(2000, height, width, lambda pixels: ours(pixels, generator))
    for first, second in zip(expected.T, found.T, strict=True):
        assert ks_2samp(first, second).pvalue > 1e-3


def test_crops_have_the_shares_and_ratios_asked_for():
    generator = np.random.default_rng(3)
    boxes = np.array([augmentation.crop_box((500, 500), (0.1, 0.5), generator) for _ in range(4000)])
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 500).all()
    shares, ratios = boxes[:, 2] * boxes[:, 3] / 500**2, np.log(boxes[:, 3] / boxes[:, 2])
    assert kstest(shares, "uniform", (0.1, 0.4)).pvalue > 0.01
    assert kstest(ratios, "uniform", (np.log(3 / 4), 2 * np.log(4 / 3))).pvalue > 0.01


def test_a_crop_that_never_fits_is_the_largest_in_the_middle(generator):
    assert augmentation.crop_box((10, 100), (1.0, 1.0), generator) == (0, 43, 10, 13)
    assert augmentation.crop_box((100, 10), (1.0, 1.0), generator) == (43, 0, 13, 10)
    assert augmentation.crop_box((1, 1), (0.08, 1.0), generator) == (0, 0, 1, 1)


def test_images_are_erased_as_mindspores_and_as_often_as_asked(draws):
    size, generator = 32, np.random.default_rng(4)
    recipe = {"mean": [0.0] * 3, "std": [1.0] * 3, "random_erasing": 0.25}
    white = np.full((size, size, 3), 255, np.uint8)
    theirs, ours = draws(vision.RandomErasing(prob=1.0)), augmentation.normalisation({**recipe, "random_erasing": 1.0})

    def box(image):
        rows, columns = np.nonzero(image[0] == 0)
        return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1

    def erased(make, pixels):
        out = np.empty((3, size, size), np.float32)
        make(pixels, generator, out)
        return out

    chw = np.ones((3, size, size), np.float32)
    expected = [box(image) for image in (theirs(chw.copy()) for _ in range(2000)) if (image == 0).any()]
    found = [box(image) for image in (erased(ours, white) for _ in range(2000)) if (image == 0).any()]
    assert len(found) > 1900
    for first, second in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        assert ks_2samp(first, second).pvalue > 0.01
    seldom = augmentation.normalisation(recipe)
    times = sum((erased(seldom, white) == 0).any() for _ in range(2000))
    assert binomtest(times, 2000, 0.25).pvalue > 0.01
    never = augmentation.normalisation({"mean": [0.0] * 3, "std": [1.0] * 3})
    assert (erased(never, white) == 1).all()


def test_erased_parts_have_all_the_shares_and_ratios_that_mindspores_have(generator):
    operator = vision.RandomErasing()
    boxes = np.array([augmentation.erased_box((1000, 1000), generator) for _ in range(4000)])
    shares, ratios = boxes[:, 2] * boxes[:, 3] / 1000**2, boxes[:, 3] / boxes[:, 2]
    assert (shares.min(), shares.max()) == pytest.approx(operator.scale, abs=0.003)
    assert (ratios.min(), ratios.max()) == pytest.approx(operator.ratio, abs=0.03)


def test_pixels_are_normalised_as_for_evaluation(generator):
    out, pixels = np.empty((3, 60, 80), np.float32), photo()
    augmentation.normalisation({"mean": RECIPE["mean"], "std": RECIPE["std"]})(pixels, generator, out)
    mean, std = ([255.0 * value for value in RECIPE[key]] for key in ("mean", "std"))
    expected = vision.HWC2CHW()(vision.Normalize(mean, std)(pixels))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)


def test_images_are_flipped_as_often_as_asked(generator):
    pixels = photo(16, 16)
    flip = augmentation.augmentation({"image_size": 16, "crop_pct": 1.0, "interpolation": "bicubic", "hflip": 0.3})
    flipped = [flip(pixels, generator) for _ in range(1000)]
    times = sum((image == pixels[:, ::-1]).all() for image in flipped)
    assert times + sum((image == pixels).all() for image in flipped) == 1000
    assert binomtest(times, 1000, 0.3).pvalue > 0.01


def test_a_file_is_cropped_as_its_pixels():
    stream = io.BytesIO()
    Image.fromarray(photo(61, 83)).save(stream, "JPEG")
    picture = augmentation.opened(np.frombuffer(stream.getvalue(), np.uint8))
    crop = augmentation.augmentation({"image_size": 32, "crop_scale": [0.08, 1.0], "interpolation": "bicubic"})
    for seed in range(10):
        found, expected = (crop(image, np.random.default_rng(seed)) for image in (picture, np.asarray(picture)))
        np.testing.assert_array_equal(found, expected)


def test_without_random_keys_an_image_is_that_of_evaluation(generator):
    recipe = {key: RECIPE[key] for key in ("image_size", "crop_pct", "interpolation")}
    pixels = photo(300, 400)
    expected = vision.CenterCrop(224)(vision.Resize(256, Inter.BICUBIC)(pixels))
    np.testing.assert_array_equal(augmentation.augmentation(recipe)(pixels, generator), expected)


def jittered(pixels, strength, count, generator):
    recipe = {"image_size": 60, "crop_pct": 1.0, "interpolation": "bicubic", "color_jitter": strength}
    jitter = augmentation.augmentation(recipe)
    return [jitter(pixels, generator).astype(float) for _ in range(count)]


def test_colour_jitter_is_mindspores(generator, draws):
    pixels = photo(60, 60)
    theirs = draws(vision.RandomColorAdjust((0.6, 1.4), (0.6, 1.4), (0.6, 1.4)))
    expected = [theirs(pixels).astype(float) for _ in range(1500)]
    found = jittered(pixels, 0.4, 1500, generator)
    for measure in (np.mean, np.std, lambda image: np.ptp(image, axis=2).mean()):
        assert ks_2samp([measure(image) for image in expected], [measure(image) for image in found]).pvalue > 0.01
    assert (np.array(jittered(pixels, 0, 3, generator)) == pixels).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"color_jitter": 0.4},
        {"auto_augment": "randaug-m9-mstd0.5-inc1-n14"},
        {"auto_augment": "randaug-m9-n14", "hflip": 0.5, "crop_scale": [0.08, 1.0]},
        {"random_affine": {"degrees": 10, "translate": 0.1, "scale": 0.1}},
    ],
)
def test_small_grey_images_are_augmented_as_grey_ones_of_three_channels(changes):
    grey = photo(8, 8, 1)
    recipe = {**DIGITS, **changes}
    found = augmentation.augmentation(recipe)(grey, np.random.default_rng(1))
    assert found.shape == (32, 32, 1)
    assert found.dtype == np.uint8
    colour = {**recipe, "mean": recipe["mean"] * 3}
    expected = augmentation.augmentation(colour)(np.repeat(grey, 3, axis=2), np.random.default_rng(1))
    np.testing.assert_array_equal(found[..., 0], expected[..., 0])


def test_an_image_is_moved_turned_and_resized_within_the_bounds(generator):
    recipe = {"image_size": 64, "crop_pct": 1.0, "interpolation": "nearest"}
    pixels = np.zeros((64, 64, 1), np.uint8)
    pixels[30:34, 30:34] = 255

    def centres(**affine):
        move = augmentation.augmentation({**recipe, "random_affine": affine})
        images = [move(pixels, generator)[..., 0].astype(float) for _ in range(300)]
        weights = np.array([image.sum() for image in images])
        places = [np.tensordot(np.indices((64, 64)), image, 2) / image.sum() - 31.5 for image in images]
        return np.array(places), weights

    places, weights = centres(degrees=0, translate=0.25, scale=0)
    assert np.abs(places).max() <= 16.5
    assert (np.abs(places).max(axis=0) > 14).all()
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.2
    assert np.ptp(weights) < 0.01 * weights.mean()
    places, weights = centres(degrees=180, translate=0, scale=0.5)
    assert np.abs(places).max() < 1
    assert np.ptp(weights) > 0.5 * weights.mean()


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("L", "BMP")]
)
def test_files_are_decoded_as_for_evaluation(mode, kind):
    stream = io.BytesIO()
    Image.fromarray(photo(61, 83)).convert(mode).save(stream, kind)
    data = np.frombuffer(stream.getvalue(), np.uint8)
    found = np.asarray(augmentation.opened(data))
    assert found.shape == (61, 83, 3)
    np.testing.assert_array_equal(found, vision.Decode()(data))
