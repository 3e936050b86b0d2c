"""Recipes: their settings, the learning rates that follow the global batch, and MindCV's schedule."""

import pytest

from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.spec import find_model

FILE = find_model("xcit_tiny_12_p16_224") / "recipes" / "imagenet2012.yaml"


def read(**settings):
    return recipes.read(FILE, "xcit_tiny_12_p16_224", "imagenet2012", settings)


@pytest.mark.parametrize(
    ("warmup", "decay", "epochs", "batches"), [(2, 5, 10, 7), (0, 3, 3, 4), (1, 0, 2, 5), (40, 460, 500, 3)]
)
def test_the_schedule_is_mindcvs(warmup, decay, epochs, batches):
    from mindcv.scheduler import create_scheduler

    recipe = {"lr": 5e-4, "min_lr": 1e-5, "warmup_epochs": warmup, "decay_epochs": decay, "epochs": epochs}
    expected = create_scheduler(
        batches, "cosine_decay", 5e-4, 1e-5, warmup_epochs=warmup, decay_epochs=decay, num_epochs=epochs
    )
    assert recipes.learning_rates(recipe, batches) == pytest.approx(expected, rel=1e-12)


def test_with_accumulation_there_are_fewer_updates_on_the_same_curve():
    recipe = {"lr": 1.0, "min_lr": 0.0, "warmup_epochs": 1, "decay_epochs": 2, "epochs": 3}
    one = recipes.learning_rates(recipe, 8)
    two = recipes.learning_rates({**recipe, "grad_accumulation": 2}, 8)
    assert two == pytest.approx(one[::2])


def test_phases_need_not_be_whole_epochs():
    recipe = {"lr": 1.0, "min_lr": 0.5, "warmup_epochs": 0.25, "decay_epochs": 0.5, "epochs": 1}
    rates = recipes.learning_rates(recipe, 8)
    assert rates[:3] == [0, 0.5, 1]
    assert rates[6:] == [0.5, 0.5]


def test_settings_are_yaml_and_null_leaves_a_key_out():
    stated, recipe = read(lr="1e-3", mixup="null", mean="[0, 0, 0]", amp_level="O0", loss_scale="null")
    assert (recipe["lr"], recipe["mean"]) == (1e-3, [0, 0, 0])
    assert stated["lr"] == 5e-4
    assert stated.keys() - recipe.keys() == {"mixup", "loss_scale"}


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ({"lrr": "1"}, ["--set lrr: unknown key; the nearest: lr"]),
        ({"lr": "fast"}, ['--set lr: expected a number, found "fast"']),
        ({"lr": "-1", "epochs": "0"}, ["--set epochs: expected at least 1, found 0", "--set lr: expected more than 0"]),
        ({"lr": "null"}, ["--set lr: expected this key, found it missing"]),
        ({"devices": "8"}, ["--set devices: expected --workers N in its place"]),
        (
            {"drop_path": "0.1", "drop_remainder": "false", "mixup": "0", "cutmix": "0", "sink": "false"},
            ["--set drop_path: expected it with drop_remainder, "],
        ),
        ({"dataset": "digits"}, ["--set dataset: expected no such setting, as the recipe is for it"]),
        (
            {"decay_epochs": "461"},
            ["--set decay_epochs: expected warmup_epochs and decay_epochs within the 500 epochs"],
        ),
        ({"mean": "[0.5]"}, ["--set mean: expected a list of 3, one value a channel, found a list of 1"]),
        ({"min_lr": "1"}, ["--set min_lr: expected at most lr, 0.0005, found 1"]),
        ({"amp_level": "O0"}, ["--set loss_scale: expected it with amp_level O1 to O3, found it in float32"]),
        ({"grad_accumulation": "2"}, ["--set sink: expected it without grad_accumulation, found both"]),
        ({"loss_scale": "static"}, ['--set loss_scale: expected a number of at least 1, or dynamic, found "static"']),
        ({"freeze": "[]"}, ["--set freeze: expected a length of at least 1"]),
        ({"color_jitter": "0.4"}, ["--set color_jitter: expected it without auto_augment, in whose place it changes "]),
        ({"auto_augment": "randaug-w0"}, ["--set auto_augment: expected randaug with parts m, n, mstd and inc, each "]),
        ({"crop_scale": "[0.9, 0.1]"}, ["--set crop_scale: expected the smaller share first, found 0.9 and 0.1"]),
        (
            {"mixup": "null", "batch_size": "63", "drop_remainder": "false", "sink": "false"},
            [
                "--set batch_size: expected an even number, as cutmix mixes pairs, found 63",
                "--set drop_remainder: expected true, as cutmix mixes the pairs of whole batches, found false",
            ],
        ),
        (
            {"mixup": "0", "cutmix": "0", "drop_remainder": "false"},
            ["--set sink: expected it with drop_remainder, as a sink's batches are all of one size, found it without"],
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings, faults):
    with pytest.raises(InvalidDocumentError) as caught:
        read(**settings)
    assert len(caught.value.faults) == len(faults)
    for found, expected in zip(caught.value.faults, faults, strict=True):
        assert found.startswith(expected)


def test_a_setting_that_is_no_yaml_is_refused():
    with pytest.raises(Exception, match=r"--set lr: expected a value in YAML, found \"\[1\""):
        read(lr="[1")


def test_rates_that_do_not_fit_once_they_are_scaled_are_refused():
    stated, recipe = read(min_lr="1e-4")
    with pytest.raises(HubpkgError, match=r"min_lr: expected at most lr, 6\.25e-05 .* of 128, found 0\.0001"):
        recipes.resolved(stated, recipe, {"min_lr": "1e-4"}, 1)


def test_the_stated_global_batch_changes_nothing():
    stated, recipe = read()
    assert recipes.resolved(stated, recipe, {}, 8) == (recipe, [])


@pytest.mark.parametrize(
    ("settings", "devices", "lr", "min_lr"),
    [
        ({}, 1, 6.25e-5, 1.25e-6),
        ({"batch_size": "256"}, 8, 1e-3, 2e-5),
        ({"grad_accumulation": "8", "sink": "false"}, 1, 5e-4, 1e-5),
        ({"batch_size": "256", "lr": "3e-4"}, 8, 3e-4, 2e-5),
    ],
)
def test_learning_rates_follow_another_global_batch_unless_they_are_set(settings, devices, lr, min_lr):
    stated, recipe = read(**settings)
    found, notes = recipes.resolved(stated, recipe, settings, devices)
    assert (found["lr"], found["min_lr"], found["devices"]) == (pytest.approx(lr), pytest.approx(min_lr), devices)
    same = recipes.global_batch(found) == 1024
    assert len(notes) == (not same)
    if not same:
        assert f"global batch {recipes.global_batch(found)} " in notes[0]
        assert "where the recipe states 1024; learning rates follow: " in notes[0]
