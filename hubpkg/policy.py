"""A recipe's augmentation keys: what the text of ``auto_augment`` means, and which keys do not go together."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def mixes(recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe mixes images, so that its targets are soft."""
    return bool(recipe.get("mixup") or recipe.get("cutmix"))


def faults_of(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each augmentation key of a recipe that would do nothing or can't be followed, and what was expected of it."""
    if "auto_augment" in recipe:
        try:
            parse(recipe["auto_augment"])
        except ValueError as error:
            yield "auto_augment", str(error)
        if "color_jitter" in recipe:
            # In MindCV and timm, whose recipes have both, RandAugment's own colour operations take its place.
            yield "color_jitter", "expected it without auto_augment, in whose place it changes colours, found both"
    if "crop_scale" in recipe and recipe["crop_scale"][0] > recipe["crop_scale"][1]:
        yield "crop_scale", "expected the smaller share first, found {} and {}".format(*recipe["crop_scale"])
    if mixes(recipe):
        key = "mixup" if recipe.get("mixup") else "cutmix"
        if recipe["batch_size"] % 2:
            yield "batch_size", f"expected an even number, as {key} mixes pairs, found {recipe['batch_size']}"
        if not recipe["drop_remainder"]:
            yield "drop_remainder", f"expected true, as {key} mixes the pairs of whole batches, found false"
