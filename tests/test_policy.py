"""A recipe's augmentation keys: policies as text, and keys that do not go together."""

import pytest

from hubpkg import policy
from hubpkg.policy import RandAugment


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("randaug-m9-mstd0.5-inc1", RandAugment(9, 2, 0.5, increasing=True)),
        ("randaug-inc1-mstd0-n3-m0", RandAugment(0, 3, 0, increasing=True)),
        ("randaug-m9.5-inc0", RandAugment(9.5, 2, 0.5, increasing=False)),
        ("randaug-mstd1", RandAugment(10, 2, 1, increasing=False)),
    ],
)
def test_the_parts_of_a_policy_are_read_in_any_order(text, meaning):
    assert policy.parse(text) == meaning


PARTS = "expected randaug with parts m, n, mstd and inc, each with a number"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autoaug-mstd0.5", "expected a policy such as randaug-m9-mstd0.5-inc1, found 'autoaug-mstd0.5'"),
        ("randaug-m9-w0", f"{PARTS}, found 'w0'"),
        ("randaug-mmax10", f"{PARTS}, found 'mmax10'"),
        ("randaug-m9-", f"{PARTS}, found ''"),
        ("randaug-m", f"{PARTS}, found 'm'"),
        ("randaug-m1.2.3", f"{PARTS}, found 'm1.2.3'"),
        ("randaug-m9-m8", "expected each part once, found m twice"),
        ("randaug-m11", "expected m to be a number of at most 10, found 'm11'"),
        ("randaug-mstd10.5", "expected mstd to be a number of at most 10, found 'mstd10.5'"),
        ("randaug-inc2", "expected inc to be a whole number of at most 1, found 'inc2'"),
        ("randaug-n1.5", "expected n to be a whole number of at most 14, found 'n1.5'"),
        ("randaug-n0", "expected n to be at least 1, found 'n0'"),
    ],
)
def test_what_is_not_implemented_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        policy.parse(text)
    assert str(caught.value) == message


SOUND = {"batch_size": 64, "drop_remainder": True}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"auto_augment": "randaug-m9-mstd0.5-inc1", "crop_scale": [0.5, 0.5], "mixup": 0.8, "cutmix": 1.0}, []),
        ({"color_jitter": 0.4}, []),
        ({"mixup": 0, "cutmix": 0, "batch_size": 63, "drop_remainder": False}, []),
        (
            {"auto_augment": "randaug-m9-mstd0.5-inc1", "color_jitter": 0.4},
            [("color_jitter", "expected it without auto_augment, in whose place it changes colours, found both")],
        ),
        ({"auto_augment": "randaug-w0"}, [("auto_augment", f"{PARTS}, found 'w0'")]),
        ({"crop_scale": [0.9, 0.1]}, [("crop_scale", "expected the smaller share first, found 0.9 and 0.1")]),
        (
            {"cutmix": 1.0, "batch_size": 63, "drop_remainder": False},
            [
                ("batch_size", "expected an even number, as cutmix mixes pairs, found 63"),
                ("drop_remainder", "expected true, as cutmix mixes the pairs of whole batches, found false"),
            ],
        ),
    ],
)
def test_keys_that_do_nothing_together_or_contradict_each_other_are_refused(changes, expected):
    assert list(policy.faults_of(SOUND | changes)) == expected
