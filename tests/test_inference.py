"""What is kept of an evaluation while it runs."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from hubpkg import evaluation, predictions
from hubpkg.predictions import Journal, Prediction
from hubpkg.runtime import datasets
from hubpkg.runtime.inference import Predictions

COUNT = 20_000


def images_of(count, classes):
    names = [f"n01440764/ILSVRC2012_val_{index:08d}" for index in range(count)]
    pixels = np.zeros((count, 1, 1, 1), np.uint8)
    return replace(datasets.from_array(pixels, [0] * count, names, "", []), classes=classes)


@pytest.mark.parametrize("classes", [1, 2, 5, 6, 1000])
def test_the_largest_logits_are_kept_as_they_are(classes):
    logits = np.random.default_rng(0).standard_normal((3, classes)).astype(np.float32)
    logits[2] = 0  # of equal ones the first comes first
    found = Predictions(images_of(4, classes))
    found.add([0, 3, 1], logits)
    assert found.known.tolist() == [True, True, False, True]
    for index, row in zip((0, 3, 1), logits, strict=True):
        order = sorted(range(classes), key=lambda c: -row[c])
        (prediction,) = found.of([index])
        assert prediction.classes == tuple(order[:5])
        assert [np.float32(value) for value in prediction.ranked] == [row[c] for c in order[:6]]
        assert prediction.image.endswith(f"{index}")
        assert prediction.log_sum == pytest.approx(math.log(sum(map(math.exp, row.tolist()))), abs=1e-6)
        assert prediction.log_sum >= prediction.logits[0]


def test_what_a_journal_has_is_taken_for_the_images_that_are_wanted(monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    images = images_of(7, 10)
    first = Predictions(images)
    first.add(range(6), np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32))
    Journal("key").add(first)
    of_other_data = [Prediction("unknown", 0, (1, 2, 3, 4, 5), (5, 4, 3, 2, 1), 0, 5.5)]
    of_more_classes = [Prediction(images.names[5], 0, (1, 2, 3, 4, 10), (5, 4, 3, 2, 1), 0, 5.5)]
    Journal("key").add([*of_other_data, *of_more_classes])
    Journal("key").add([Prediction(images.names[6], 0, (1, 2, 3, 4, 5), (5, 4, 3, 2, 1), 0)])  # without their sum
    again = Predictions(images)
    again.add_earlier(Journal("key").earlier(), [1, 3, 5, 6])
    assert again.known.tolist() == [False, True, False, True, False, True, False]
    assert list(again.of([1, 3, 5])) == list(first.of([1, 3, 5]))


def test_an_evaluation_takes_little_memory_for_each_image(monkeypatch, tmp_path):
    """Beyond its name: 50,000 images may not take a tenth more of it than 500."""
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    images, journal, file = images_of(COUNT, 1000), Journal("key"), tmp_path / "predictions.csv"
    logits = np.random.default_rng(0).standard_normal((10, 1000)).astype(np.float32)
    tracemalloc.start()
    try:
        found = Predictions(images)
        for start in range(0, COUNT, len(logits)):
            indices = range(start, start + len(logits))
            found.add(indices, logits)
            journal.add(found.of(indices))
        _, predicting = tracemalloc.get_traced_memory()
        predictions.write(file, found)
        again = Predictions(images)
        again.add_earlier(Journal("key").earlier(), range(COUNT))
        assert evaluation.evaluate(predictions.read(file)).samples == COUNT
        assert evaluation.compare(predictions.read(file), again, 1e-4).differing == ()
        _, evaluating = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert predicting < 100 * COUNT
    assert evaluating < 500 * COUNT
