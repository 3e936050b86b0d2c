"""What the text of a recipe's ``auto_augment`` means."""

import re
from dataclasses import dataclass

_PART = re.compile(r"([a-z]+)([0-9]+(?:\.[0-9]+)?)")
_LARGEST = {"m": 10, "n": 14, "mstd": 10, "inc": 1}


@dataclass(frozen=True)
class RandAugment:
    """A policy of RandAugment, by the parts of its text; their defaults are MindCV's.

    Source: Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search space.

    Attributes:
        magnitude: how much an operation changes an image, from 0 to 10; ``m``.
        operations: drawn for an image, each then applied with a probability of one half; ``n``.
        deviation: standard deviation of the magnitude, from image to image; ``mstd``.
        increasing: whether a larger magnitude always changes more; ``inc``, 0 or 1.
    """

    magnitude: float = 10
    operations: int = 2
    deviation: float = 0.5
    increasing: bool = False


def parse(text: str) -> RandAugment:
    """The policy that ``text`` means, such as ``randaug-m9-mstd0.5-inc1``.

    Raises:
        ValueError: with what was expected, and found.
    """
    name, *parts = text.split("-")
    if name != "randaug":
        raise ValueError(f"expected a policy such as randaug-m9-mstd0.5-inc1, found {text!r}")
    values: dict[str, float] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        key = match[1] if match else part
        if match is None or key not in _LARGEST:
            raise ValueError(f"expected randaug with parts m, n, mstd and inc, each with a number, found {part!r}")
        if key in values:
            raise ValueError(f"expected each part once, found {key} twice")
        values[key] = float(match[2])
        if values[key] > _LARGEST[key] or (key in {"n", "inc"} and "." in part):
            kind = "a number" if key in {"m", "mstd"} else "a whole number"
            raise ValueError(f"expected {key} to be {kind} of at most {_LARGEST[key]}, found {part!r}")
    if not values.get("n", 1):
        raise ValueError("expected n to be at least 1, found 'n0'")
    default = RandAugment()
    return RandAugment(
        magnitude=values.get("m", default.magnitude),
        operations=int(values.get("n", default.operations)),
        deviation=values.get("mstd", default.deviation),
        increasing=bool(values.get("inc", default.increasing)),
    )
