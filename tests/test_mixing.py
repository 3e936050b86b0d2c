"""Mixup and CutMix: targets and images are MindCV's for the same draws."""

from types import SimpleNamespace

import numpy as np
import pytest

from hubpkg.runtime.datasets import mixing
from hubpkg.runtime.datasets.mixing import Mix

mindcv = pytest.importorskip("mindcv.data.mixup", reason="MindCV, the oracle, is not installed")

B, C, SIZE, CLASSES = 8, 3, 32, 10
RECIPE = {"mixup": 0.8, "cutmix": 1.0, "image_size": SIZE}


@pytest.fixture
def batch():
    generator = np.random.default_rng(5)
    return generator.standard_normal((B, C, SIZE, SIZE)).astype(np.float32), generator.integers(CLASSES, size=B)


def paired(array):
    """In the order in which MindCV, which mixes the first with the last, makes our pairs."""
    half = len(array) // 2
    return np.concatenate([array[:half], array[half:][::-1]])


def draws(**answers):
    """What stands for NumPy's random module in MindCV, and gives these answers, one a call."""
    return SimpleNamespace(**{name: lambda *_, left=list(given), **__: left.pop(0) for name, given in answers.items()})


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7310585786300049, 0.999, 1.0])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("centre", [(16, 16), (0, 31), (31, 5)])
def test_images_and_targets_are_mindcvs_for_the_same_share_and_box(share, kind, centre, batch, monkeypatch):
    images, labels = batch
    mix = Mix(share) if kind == "mixup" else mixing.cut(SIZE, share, *centre)
    switch = 0.0 if kind == "cutmix" else 1.0
    with monkeypatch.context() as patch:
        patch.setattr(mindcv.np, "random", draws(rand=[0.0, switch], beta=[share], randint=centre))
        mixer = mindcv.Mixup(0.8, 1.0, prob=1.0, switch_prob=0.5, label_smoothing=0.0, num_classes=CLASSES)
        expected, targets = mixer(paired(images).copy(), paired(labels))
    ours = images.copy()
    mixing.mix_images(ours, mix)
    np.testing.assert_allclose(paired(ours), expected, rtol=0, atol=1e-6)  # three roundings of float32
    found = mixing.soft_targets(labels.astype(np.int32), CLASSES, mix)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(paired(found), targets)
    if kind == "cutmix":
        np.testing.assert_array_equal(paired(ours), expected)


def test_smoothing_by_the_loss_is_smoothing_of_the_targets(batch):
    _, labels = batch
    smoothed = mindcv.mixup_target(paired(labels), CLASSES, lam=0.3, smoothing=0.1)
    plain = mixing.soft_targets(labels.astype(np.int32), CLASSES, Mix(0.3))
    np.testing.assert_allclose(paired(0.9 * plain + 0.1 / CLASSES), smoothed, atol=1e-7)


def test_of_equal_labels_the_target_is_that_label():
    targets = mixing.soft_targets(np.full(4, 3, np.int32), CLASSES, Mix(0.3))
    np.testing.assert_array_equal(targets, np.eye(CLASSES, dtype=np.float32)[[3] * 4])


def test_the_share_is_that_of_the_pixels_that_stay(batch):
    images, _ = batch
    generator = np.random.default_rng(0)
    for _ in range(50):
        mix = mixing.draw({"cutmix": 1.0, "image_size": SIZE}, generator)
        mixed = images.copy()
        mixing.mix_images(mixed, mix)
        assert (mixed == images).mean() == pytest.approx(mix.share)


def drawn(recipe, count=4000):
    generator = np.random.default_rng(1)
    return [mixing.draw(recipe, generator) for _ in range(count)]


def test_mixup_and_cutmix_are_drawn_as_often():
    cut = np.mean([mix.box is not None for mix in drawn(RECIPE)])
    assert cut == pytest.approx(0.5, abs=0.03)
    assert all(mix.box is None for mix in drawn({**RECIPE, "cutmix": 0}, 100))
    assert all(mix.box is not None for mix in drawn({**RECIPE, "mixup": 0}, 100))


def test_the_shares_of_mixup_are_of_its_beta_distribution():
    from scipy.stats import beta, kstest

    shares = [mix.share for mix in drawn({**RECIPE, "cutmix": 0})]
    assert kstest(shares, beta(0.8, 0.8).cdf).pvalue > 0.01


def test_boxes_are_distributed_as_mindcvs():
    from scipy.stats import ks_2samp

    np.random.seed(3)  # noqa: NPY002 - what MindCV draws from
    boxes = [mindcv.cutmix_bbox_and_lam((3, SIZE, SIZE), np.random.beta(1, 1)) for _ in range(4000)]  # noqa: NPY002
    ours = drawn({**RECIPE, "mixup": 0})
    for side in range(4):
        assert ks_2samp([box[side] for box, _ in boxes], [mix.box[side] for mix in ours]).pvalue > 0.01
    assert ks_2samp([share for _, share in boxes], [mix.share for mix in ours]).pvalue > 0.01
