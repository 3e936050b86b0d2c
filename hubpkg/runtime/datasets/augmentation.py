"""An image as training sees it: decoded, cropped, changed at random and normalised.

All that is random is drawn from the generator that the caller gives; MindSpore's operators get it as numbers. What is
drawn, and in which order an image is changed, is MindCV 0.3.0's, whose recipes these are: crop, flip, RandAugment or
colour jitter, normalisation, erasing.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hubpkg import randaugment

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Picture = Union["Image.Image", Pixels]
Crop = Callable[[Picture, Generator], Pixels]
Change = Callable[[Pixels, Generator], Pixels]
Box = tuple[int, int, int, int]  # top, left, height, width

RATIOS = (3 / 4, 4 / 3)  # width to height, of a random-resized crop
ERASED_SHARES, ERASED_RATIOS = (0.02, 0.33), (0.3, 3.3)  # of the image; width to height
_ATTEMPTS = 10  # to draw a box that fits in the image


def opened(data: Pixels) -> Picture:
    """An encoded image in colour: one that Pillow has not decoded yet, or pixels of shape (height, width, 3)."""
    from mindspore.dataset import vision
    from PIL import Image

    # The same pixels as MindSpore's, in two thirds of the time, and other threads may run meanwhile.
    image = Image.open(io.BytesIO(data.data), formats=("JPEG", "PNG", "BMP"))
    if image.format == "JPEG" and image.mode in {"RGB", "L"}:
        return image if image.mode == "RGB" else image.convert("RGB")
    pixels: Pixels = vision.Decode()(data)
    return pixels


def augmentation(recipe: Mapping[str, Any]) -> Crop:
    """The function that crops and changes an image as the recipe says.

    Returns:
        A function from an image, Pillow's or uint8 of shape (height, width, channels), and a generator of random
        numbers to pixels of shape (size, size, channels).
    """
    makers: Mapping[str, Callable[[Mapping[str, Any]], Change]] = {
        "hflip": _hflip,
        "random_affine": _random_affine,
        "auto_augment": _randaugment,
        "color_jitter": _color_jitter,
    }
    crop = _random_crop(recipe) if "crop_scale" in recipe else _central_crop(recipe)
    changes = [make(recipe) for key, make in makers.items() if key in recipe]

    def augmented(picture: Picture, generator: Generator) -> Pixels:
        pixels = crop(picture, generator)
        for change in changes:
            pixels = change(pixels, generator)
        return pixels

    return augmented


def normalisation(recipe: Mapping[str, Any]) -> Callable[[Pixels, Generator, NDArray[np.float32]], None]:
    """The function that normalises pixels of shape (size, size, channels) and erases a part of them.

    Returns:
        A function of pixels, a generator and the float32 array of (channels, size, size) that it writes to.
    """
    mean, std = (np.float32(recipe[key]).reshape(-1, 1, 1) * np.float32(255) for key in ("mean", "std"))
    probability = recipe.get("random_erasing", 0.0)

    def normalised(pixels: Pixels, generator: Generator, out: NDArray[np.float32]) -> None:
        np.subtract(pixels.transpose(2, 0, 1), mean, out=out)
        np.divide(out, std, out=out)
        if generator.random() < probability:
            top, left, height, width = erased_box(pixels.shape, generator)
            out[:, top : top + height, left : left + width] = 0  # the mean colour

    return normalised


def crop_box(shape: Sequence[int], scale: Sequence[float], generator: Generator) -> Box:
    """The crop of a random share, within ``scale``, and of random ratio of an image of (height, width, ...).

    Source: Szegedy et al., Going deeper with convolutions.
    """
    height, width = shape[:2]
    for _ in range(_ATTEMPTS):
        area = height * width * generator.uniform(scale[0], scale[1])
        ratio = math.exp(generator.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
        wide = max(1, round(math.sqrt(area * ratio)))
        high = max(1, round(wide / ratio))
        if wide <= width and high <= height:
            return int(generator.integers(height - high + 1)), int(generator.integers(width - wide + 1)), high, wide
    # The largest one in the middle whose ratio is allowed.
    wide = min(width, round(height * RATIOS[1]))
    high = min(height, round(width / RATIOS[0]))
    return (height - high) // 2, (width - wide) // 2, high, wide


def erased_box(shape: Sequence[int], generator: Generator) -> Box:
    """The part to erase of an image of (height, width, ...); of no size if none that was drawn fits.

    Source: Zhong et al., Random erasing data augmentation.
    """
    height, width = shape[:2]
    for _ in range(_ATTEMPTS):
        area, ratio = height * width * generator.uniform(*ERASED_SHARES), generator.uniform(*ERASED_RATIOS)
        wide = round(math.sqrt(area * ratio))
        high = round(wide / ratio)
        if wide < width and high < height:
            return int(generator.integers(height - high + 1)), int(generator.integers(width - wide + 1)), high, wide
    return 0, 0, 0, 0


def central_crop(recipe: Mapping[str, Any]) -> list[Any]:
    """MindSpore's operators that resize an image and take its middle, as evaluation does."""
    from mindspore.dataset import vision

    size = recipe["image_size"]
    return [vision.Resize(math.floor(size / recipe["crop_pct"]), _interpolation(recipe)), vision.CenterCrop(size)]


def _central_crop(recipe: Mapping[str, Any]) -> Crop:
    resize, crop = central_crop(recipe)
    return lambda picture, _: crop(resize(np.asarray(picture)))


def _random_crop(recipe: Mapping[str, Any]) -> Crop:
    from mindspore.dataset import vision

    resize = vision.Resize((recipe["image_size"], recipe["image_size"]), _interpolation(recipe))

    def cropped(picture: Picture, generator: Generator) -> Pixels:
        if isinstance(picture, np.ndarray):
            top, left, height, width = crop_box(picture.shape, recipe["crop_scale"], generator)
            part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        else:
            top, left, height, width = crop_box(picture.size[::-1], recipe["crop_scale"], generator)
            part = np.asarray(picture.crop((left, top, left + width, top + height)))
        pixels: Pixels = resize(part)
        return pixels

    return cropped


def _hflip(recipe: Mapping[str, Any]) -> Change:
    from mindspore.dataset import vision

    flip = vision.HorizontalFlip()
    return lambda pixels, generator: flip(pixels) if generator.random() < recipe["hflip"] else pixels


def _random_affine(recipe: Mapping[str, Any]) -> Change:
    from mindspore.dataset import vision

    degrees, translate, scale = (recipe["random_affine"][key] for key in ("degrees", "translate", "scale"))

    def moved(pixels: Pixels, generator: Generator) -> Pixels:
        angle, x, y, size = (generator.uniform(-1, 1) * most for most in (degrees, translate, translate, scale))
        result: Pixels = vision.Affine(angle, (x, y), 1 + size, (0.0, 0.0), vision.Inter.BILINEAR)(pixels)
        return result

    return moved


def _color_jitter(recipe: Mapping[str, Any]) -> Change:
    from mindspore.dataset import vision

    strength = recipe["color_jitter"]
    operators = (vision.AdjustBrightness, vision.AdjustContrast, vision.AdjustSaturation)

    def jittered(pixels: Pixels, generator: Generator) -> Pixels:
        for index in generator.permutation(len(operators)):
            pixels = operators[index](generator.uniform(max(0, 1 - strength), 1 + strength))(pixels)
        return pixels

    return _in_colour(jittered)


def _randaugment(recipe: Mapping[str, Any]) -> Change:
    chosen = randaugment.parse(recipe["auto_augment"])
    fill = tuple(min(255, round(255 * value)) for value in (recipe["mean"] * 3)[:3])
    operators = list(randaugment_operators(fill, _interpolation(recipe), increasing=chosen.increasing).values())

    def augmented(pixels: Pixels, generator: Generator) -> Pixels:
        for index in generator.integers(len(operators), size=chosen.operations):
            if generator.random() < 0.5:  # noqa: PLR2004 - the probability of each operation, in MindCV and timm
                magnitude = min(max(generator.normal(chosen.magnitude, chosen.deviation), 0.0), 10.0)
                sign = 1 if generator.random() < 0.5 else -1  # noqa: PLR2004 - one half
                pixels = operators[index](magnitude / 10, sign)(pixels)
        return pixels

    return _in_colour(augmented)


def randaugment_operators(
    fill: tuple[int, ...], interpolation: Any, *, increasing: bool
) -> Mapping[str, Callable[[float, int], Any]]:
    """RandAugment's operations, each a function of a level from 0 to 1 and a sign to one of MindSpore's operators.

    The ranges are those that the published weights were trained with, MindCV's, where two operations do less than
    their authors meant: it gives the shear's tangent, up to 0.3, to an operator that takes degrees; and it keeps more
    bits of a colour, the larger the magnitude, where ``increasing``.

    Args:
        fill: the colour of what an operation moves into the image.
        interpolation: MindSpore's, for operations that move pixels.
        increasing: whether a larger level always changes colours more.
    """
    from mindspore.dataset import vision

    def affine(x: float = 0.0, y: float = 0.0, shear: tuple[float, float] = (0.0, 0.0)) -> Any:
        return vision.Affine(0.0, (x, y), 1.0, shear, interpolation, fill)

    def factor(level: float, sign: int) -> float:
        return max(0.1, 1 + 0.9 * level * sign) if increasing else 0.1 + 1.8 * level

    def posterize(level: float, _: int) -> Any:
        removed = 4 - int(4 * level) if increasing else int(4 * level)
        return vision.Posterize(8 - removed)

    def solarize(level: float, _: int) -> Any:
        threshold = 255 - int(255 * level) if increasing else int(255 * level)
        return vision.Solarize((float(threshold), 255.0))

    return {
        "AutoContrast": lambda *_: vision.AutoContrast(),
        "Equalize": lambda *_: vision.Equalize(),
        "Invert": lambda *_: vision.Invert(),
        "Rotate": lambda level, sign: vision.Rotate(30.0 * level * sign, interpolation, fill_value=fill),
        "Posterize": posterize,
        "Solarize": solarize,
        "Color": lambda *drawn: vision.AdjustSaturation(factor(*drawn)),
        "Contrast": lambda *drawn: vision.AdjustContrast(factor(*drawn)),
        "Brightness": lambda *drawn: vision.AdjustBrightness(factor(*drawn)),
        "Sharpness": lambda *drawn: vision.AdjustSharpness(factor(*drawn)),
        "ShearX": lambda level, sign: affine(shear=(-0.3 * level * sign, 0.0)),
        "ShearY": lambda level, sign: affine(shear=(0.0, 0.3 * level * sign)),
        "TranslateX": lambda level, sign: affine(x=0.45 * level * sign),
        "TranslateY": lambda level, sign: affine(y=0.45 * level * sign),
    }


def _in_colour(change: Change) -> Change:
    """The same for grey images too, which MindSpore's operators on colours refuse."""

    def changed(pixels: Pixels, generator: Generator) -> Pixels:
        if pixels.shape[2] == 3:  # noqa: PLR2004 - red, green and blue
            return change(pixels, generator)
        return change(np.repeat(pixels, 3, axis=2), generator)[..., :1]

    return changed


def _interpolation(recipe: Mapping[str, Any]) -> Any:
    from mindspore.dataset import vision

    return vision.Inter[recipe["interpolation"].upper()]
