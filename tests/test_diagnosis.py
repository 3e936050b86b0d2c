"""What predictions show beyond the metrics."""

import math
from dataclasses import replace

import pytest

from hubpkg.diagnosis import confidence, diagnose
from hubpkg.predictions import Prediction


def of_three(image, label, order, logits):
    return Prediction(image, label, order, logits)


THREE = [
    of_three("a", 0, (0, 1, 2), (2.0, 1.0, 0.0)),
    of_three("b", 0, (1, 0, 2), (2.0, 1.5, 0.0)),
    of_three("c", 1, (1, 2, 0), (5.0, 1.0, 0.0)),
    of_three("d", 2, (1, 0, 2), (4.0, 1.0, 0.0)),
    of_three("e", 2, (1, 0, 2), (4.0, 1.0, 0.0)),
]


def test_confusion_counts_images_by_label_and_predicted_class():
    found = diagnose(THREE, 3)
    assert found.confusion == {(0, 0): 1, (0, 1): 1, (1, 1): 1, (2, 1): 2}
    assert (found.images, found.wrong) == (5, 3)
    assert found.confused(1) == [(2, 1, 2)]
    assert found.confused(9) == [(2, 1, 2), (0, 1, 1)]


def test_each_class_has_its_accuracy_and_interval():
    first, second, third = diagnose(THREE, 3).by_class
    assert [(each.label, each.images, each.right) for each in (first, second, third)] == [
        (0, 2, 1),
        (1, 1, 1),
        (2, 2, 0),
    ]
    assert (first.accuracy.percent, second.accuracy.percent, third.accuracy.percent) == (50, 100, 0)
    assert first.accuracy.low == pytest.approx(9.4531, abs=1e-3)


def test_a_class_without_images_has_no_accuracy():
    assert [each.label for each in diagnose(THREE[:2], 3).by_class] == [0]


def test_mistakes_come_by_their_margin_and_then_by_name():
    found = diagnose(THREE, 3).mistakes
    assert [(each.image, each.label, each.predicted, each.margin) for each in found] == [
        ("d", 2, 1, 4.0),
        ("e", 2, 1, 4.0),
        ("b", 0, 1, 0.5),
    ]
    assert not any(each.at_least for each in found)


def test_the_margin_of_a_label_beyond_the_five_is_a_bound():
    (mistake,) = diagnose([Prediction("a", 9, (0, 1, 2, 3, 4), (3.0, 2.0, 1.5, 1.2, 1.0), 0.5)], 1000).mistakes
    assert (mistake.margin, mistake.at_least) == (2.5, True)


def test_with_all_logits_known_confidence_is_the_softmax():
    softmax = math.exp(2) / (math.exp(2) + math.exp(1) + 1)
    assert confidence(THREE[0], 3) == pytest.approx(softmax, rel=1e-12)


def test_with_a_thousand_classes_confidence_is_the_softmax_by_the_sum_over_all():
    logits = [3.0, 2.0, 1.5, 1.2, 1.0, 0.5, *[-1.0] * 994]
    total = sum(map(math.exp, logits))
    known = Prediction("a", 0, (0, 1, 2, 3, 4), tuple(logits[:5]), logits[5], math.log(total))
    assert confidence(known, 1000) == pytest.approx(math.exp(3) / total, rel=1e-12)
    assert confidence(Prediction("a", 0, (0, 1, 2, 3, 4), tuple(logits[:5]), logits[5]), 1000) is None


def test_the_calibration_error_is_the_mean_distance_of_accuracy_from_confidence():
    sure = [Prediction(str(i), i % 4 // 3, (0, 1), (math.log(9), 0.0)) for i in range(100)]  # 90 % sure, 75 % right
    unsure = [Prediction(f"u{i}", i % 2, (0, 1), (math.log(1.5), 0.0)) for i in range(100)]  # 60 % sure, 50 % right
    calibration = diagnose([*sure, *unsure], 2).calibration
    assert calibration.error == pytest.approx((0.15 + 0.10) / 2)
    assert calibration.confidence == pytest.approx(0.75)
    filled = [each for each in calibration.bins if each.images]
    assert [each.images for each in filled] == [100, 100]
    assert [each.accuracy.percent for each in filled] == [50, 75]


def test_where_the_evidence_leaves_confidence_open_calibration_is_not_known():
    summed = Prediction("a", 0, (0, 1, 2, 3, 4), (1.0, 0.9, 0.8, 0.7, 0.6), 0.5, 7.0)
    assert diagnose([summed], 1000).calibration.confidence == pytest.approx(math.exp(-6))
    assert diagnose([summed, replace(summed, image="b", log_sum=None)], 1000).calibration is None


def test_no_predictions_are_refused():
    with pytest.raises(ValueError, match="at least one prediction"):
        diagnose([], 10)
