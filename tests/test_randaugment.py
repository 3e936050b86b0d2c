"""RandAugment's policies, as text."""

import pytest

from hubpkg import randaugment
from hubpkg.randaugment import RandAugment


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
    assert randaugment.parse(text) == meaning


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
        randaugment.parse(text)
    assert str(caught.value) == message
