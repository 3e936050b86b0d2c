"""A recipe, how a model is trained on one dataset: ``recipes/<dataset>.yaml`` and settings -> a resolved recipe."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hubpkg import documents, randaugment
from hubpkg.errors import HubpkgError, InvalidDocumentError

_FIXED = frozenset({"model", "dataset"})  # what a recipe is for, which no setting changes
_SCALED = ("lr", "min_lr")  # what follows the global batch
_MIXING = ("mixup", "cutmix")
_OF_IMAGES = frozenset(
    (
        *("image_size", "in_channels", "interpolation", "crop_pct", "mean", "std"),
        *("random_affine", "crop_scale", "hflip", "color_jitter", "random_erasing", "auto_augment", *_MIXING),
    )
)
_OF_OTHER_INPUTS = frozenset({"input_dtype", "vocab_size"})
_OF_CLASSES = frozenset({"num_classes", "label_smoothing", *_MIXING})
_OF_NUMBERS = frozenset({"num_outputs", "loss"})


def of_images(recipe: Mapping[str, Any]) -> bool:
    """Whether its inputs are images, which are resized and normalised; others are taken as they are."""
    return "input_shape" not in recipe


def input_shape(recipe: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of one input of the network."""
    if of_images(recipe):
        return (recipe["in_channels"], recipe["image_size"], recipe["image_size"])
    return tuple(recipe["input_shape"])


def input_dtype(recipe: Mapping[str, Any]) -> str:
    """The type of the network's inputs: float32 or int32."""
    return str(recipe.get("input_dtype", "float32"))


def noun(recipe: Mapping[str, Any]) -> str:
    """What one of its inputs is called."""
    return "image" if of_images(recipe) else "sample"


def is_regression(recipe: Mapping[str, Any]) -> bool:
    """Whether the network gives numbers; else it gives logits of classes."""
    return bool(recipe.get("task") == "regression")


def loss(recipe: Mapping[str, Any]) -> str:
    """What a regression makes small, and is validated by: ``mse`` or ``l1``."""
    return str(recipe.get("loss", "mse"))


def outputs(recipe: Mapping[str, Any]) -> int:
    """How many numbers or logits the network gives for an input."""
    return int(recipe["num_outputs" if is_regression(recipe) else "num_classes"])


def read(path: Path, model: str, dataset: str, settings: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe at ``path``, for ``model`` on ``dataset``, and the same with ``settings`` in place of its values.

    Args:
        path: the YAML file.
        model: the model's name, which the recipe must give too.
        dataset: likewise.
        settings: values by key, in YAML; ``null`` takes an optional key away.

    Raises:
        InvalidDocumentError: with every fault of the file, or else of the settings.
        HubpkgError: the file can't be read.
    """
    document = documents.read(path, "recipe")
    recipe: dict[str, Any] = document.data
    faults = [
        f"{document.place((key,))}: {key}: expected {wanted!r}, found {recipe[key]!r}"
        for key, wanted in (("model", model), ("dataset", dataset))
        if recipe[key] != wanted
    ]
    faults += [f"{document.place((key,))}: {fault}" for key, fault in _contradictions(recipe)]
    if faults:
        raise InvalidDocumentError(faults)
    given = {key: _parsed(key, value) for key, value in settings.items()}
    faults = [f"--set {key}: expected no such setting, as the recipe is for it" for key in _FIXED & given.keys()]
    faults += ["--set devices: expected --workers N in its place"] if "devices" in given else []
    changed = {key: value for key, value in (recipe | given).items() if value is not None}
    wrong = documents.faults_of(changed, "recipe")
    faults += [f"--set {fault}" for _, fault in wrong]
    faults += [] if wrong else [f"--set {fault}" for _, fault in _contradictions(changed)]
    if faults:
        raise InvalidDocumentError(faults)
    return recipe, changed


def _parsed(key: str, text: str) -> Any:
    try:
        return documents.Document(f"value: {text}", f"--set {key}").data["value"]
    except InvalidDocumentError:
        raise HubpkgError(f"--set {key}: expected a value in YAML, found {documents.describe(text)}") from None


def _contradictions(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys of a recipe that fits its schema, and what is wrong with them beside other keys."""
    yield from _misplaced(recipe)
    for key in ("mean", "std"):
        if of_images(recipe) and len(recipe[key]) != recipe["in_channels"]:
            yield (
                key,
                (
                    f"{key}: expected a list of {recipe['in_channels']}, one value a channel, "
                    f"found {documents.describe(recipe[key])}"
                ),
            )
    if recipe["warmup_epochs"] + recipe["decay_epochs"] > recipe["epochs"]:
        yield (
            "decay_epochs",
            (
                f"decay_epochs: expected warmup_epochs and decay_epochs within the {recipe['epochs']} epochs, "
                f"found {recipe['warmup_epochs']} and {recipe['decay_epochs']}"
            ),
        )
    yield from ((key, f"{key}: {fault}") for key, fault in _augmentation_faults(recipe))
    if recipe["min_lr"] > recipe["lr"]:
        yield "min_lr", f"min_lr: expected at most lr, {recipe['lr']:g}, found {recipe['min_lr']:g}"
    if recipe.get("amp_level", "O0") == "O0" and "loss_scale" in recipe:
        yield "loss_scale", "loss_scale: expected it with amp_level O1 to O3, found it in float32, which needs none"
    if recipe.get("sink") and recipe.get("grad_accumulation", 1) > 1:
        yield "sink", "sink: expected it without grad_accumulation, found both"
    if recipe.get("drop_path") and not recipe["drop_remainder"]:
        yield (
            "drop_path",
            "drop_path: expected it with drop_remainder, as it is drawn for whole batches, found it without",
        )
    if recipe.get("sink") and not recipe["drop_remainder"]:
        yield "sink", "sink: expected it with drop_remainder, as a sink's batches are all of one size, found it without"


def _misplaced(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key that is there for inputs or a task of another kind, or is missing for this one."""
    kinds = [
        (_OF_OTHER_INPUTS, "with input_shape", "found it for images")
        if of_images(recipe)
        else (_OF_IMAGES, "for images alone", "found it with input_shape"),
        (_OF_CLASSES, "for classes", "found it with task: regression")
        if is_regression(recipe)
        else (_OF_NUMBERS, "with task: regression", "found it without"),
    ]
    for keys, expected, found in kinds:
        yield from ((key, f"{key}: expected it {expected}, {found}") for key in sorted(keys & recipe.keys()))
    if not of_images(recipe) and ("vocab_size" in recipe) is not (input_dtype(recipe) == "int32"):
        yield "vocab_size", "vocab_size: expected it with input_dtype: int32, and with no other, found one of the two"


def mixes(recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe mixes images, so that its targets are soft."""
    return bool(recipe.get("mixup") or recipe.get("cutmix"))


def _augmentation_faults(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each augmentation key of a recipe that would do nothing or can't be followed, and what was expected of it."""
    if "auto_augment" in recipe:
        try:
            randaugment.parse(recipe["auto_augment"])
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


def global_batch(recipe: Mapping[str, Any]) -> int:
    """How many images make one update of the weights: batch_size x grad_accumulation x devices."""
    return int(recipe["batch_size"] * recipe.get("grad_accumulation", 1) * recipe.get("devices", 1))


def resolved(
    stated: Mapping[str, Any], recipe: Mapping[str, Any], settings: Mapping[str, str], devices: int
) -> tuple[dict[str, Any], list[str]]:
    """What is trained by on ``devices`` devices, and what there is to say of it.

    With another global batch than the one that the model's recipe states, learning rates follow it linearly (P. Goyal
    et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677), but for those that were set.

    Raises:
        HubpkgError: one was set, and does not fit the other.

    Args:
        stated: the recipe as the model has it.
        recipe: the same with the settings.
        settings: those, by key.
        devices: how many processes train, each with a device.
    """
    found = {**recipe, "devices": devices}
    was, now = global_batch(stated), global_batch(found)
    if was == now:
        return found, []
    scaled = {key: _digits(found[key] * now / was) for key in _SCALED if key not in settings}
    now_trained = found | scaled
    if now_trained["min_lr"] > now_trained["lr"]:
        raise HubpkgError(
            f"min_lr: expected at most lr, {now_trained['lr']:g} for a global batch of {now}, found "
            f"{now_trained['min_lr']:g}; set both, or neither"
        )
    rates = ", ".join(f"{key} {stated[key]:g} -> {value:g}" for key, value in scaled.items())
    return now_trained, [
        f"train: global batch {now} (batch_size {found['batch_size']} x grad_accumulation "
        f"{found.get('grad_accumulation', 1)} x {devices} devices), where the recipe states {was}"
        + (f"; learning rates follow: {rates}" if rates else "; learning rates are as set")
    ]


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def learning_rates(recipe: Mapping[str, Any], batches: int) -> list[float]:
    """The learning rate of every update: a linear warm-up from 0, cosine decay to ``min_lr``, then ``min_lr``.

    Args:
        recipe: the recipe.
        batches: how many batches a process has in an epoch; ``grad_accumulation`` of them make one update.
    """
    count = updates(recipe, batches)
    a_batch = recipe.get("grad_accumulation", 1) / batches  # epochs an update
    warmup, decay, low, high = (recipe[key] for key in ("warmup_epochs", "decay_epochs", "min_lr", "lr"))
    # Phases begin at whole updates, as MindCV's schedule has it.
    first = math.ceil(warmup / a_batch - 1e-9)
    last = first + math.ceil(decay / a_batch - 1e-9)
    rates = [high * step * a_batch / warmup for step in range(min(first, count))]
    turns = (math.pi * step * a_batch / decay for step in range(min(last, count) - min(first, count)))
    rates += [low + (high - low) * (1 + math.cos(turn)) / 2 for turn in turns]
    return rates + [low] * (count - len(rates))


def updates(recipe: Mapping[str, Any], batches: int) -> int:
    """How often the weights are updated, with ``batches`` batches a process in an epoch."""
    return int(recipe["epochs"] * batches // recipe.get("grad_accumulation", 1))
