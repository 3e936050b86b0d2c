"""Training: the schedule, the log, and what is refused."""

import json
from itertools import pairwise

import mindspore
import pytest
from mindspore import nn

from hubpkg.errors import HubpkgError
from hubpkg.package import Job
from hubpkg.runtime import datasets, training
from hubpkg.spec import ModelSpec, find_model, read_spec

IMAGES = datasets.find("digits").images("train", None)


@pytest.fixture
def recipe():
    return dict(read_spec("xcit_tiny_12_p16_224", "digits").recipe)


@pytest.fixture
def network(models, monkeypatch, recipe):
    monkeypatch.setenv("HUBPKG_MODELS", str(models))
    spec = ModelSpec(find_model("xcit_small"), "digits", {"model-name": "xcit_small"}, recipe)
    return Job(spec, None, None, print).network()


def test_the_learning_rate_warms_up_falls_as_a_cosine_and_stays(recipe):
    recipe |= {"lr": 1.0, "min_lr": 0.1, "epochs": 10, "warmup_epochs": 2, "decay_epochs": 5}
    rates = training.learning_rates(recipe, 4)
    assert len(rates) == 40
    assert rates[:8] == pytest.approx([step / 8 for step in range(1, 9)])
    assert rates[8:28] == pytest.approx(nn.cosine_decay_lr(0.1, 1.0, 21, 1, 20)[:20], abs=0.02)
    assert rates[8] == 1.0
    assert all(first > second for first, second in pairwise(rates[8:28]))
    assert rates[28:] == [0.1] * 12


def test_the_loss_falls_and_every_step_is_logged(recipe, network, tmp_path):
    recipe |= {"epochs": 2, "warmup_epochs": 0.5, "decay_epochs": 1.5, "lr": 0.01}
    log = tmp_path / "log.jsonl"
    timing = training.train(network, recipe, IMAGES, log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 45))
    assert {line["epoch"] for line in lines} == {1, 2}
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert [line["ms"] for line in lines[training.WARMUP_STEPS :]] == timing.ms
    assert timing.compile_seconds > 0
    assert timing.precision == "float32"
    assert timing.conditions.own_cpus > 0


def test_the_same_seed_gives_the_same_weights(recipe, models, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_MODELS", str(models))
    spec = ModelSpec(find_model("xcit_small"), "digits", {"model-name": "xcit_small"}, recipe)
    runs = []
    for _ in range(2):
        mindspore.set_seed(1)
        network = Job(spec, None, None, print).network()
        training.train(network, recipe | {"epochs": 1, "decay_epochs": 0.5}, IMAGES, tmp_path / "log.jsonl")
        runs.append([parameter.asnumpy().tobytes() for parameter in network.get_parameters()])
    assert runs[0] == runs[1]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(recipe, network, tmp_path):
    with pytest.raises(HubpkgError, match=r"expected a finite loss, found .* at step \d+, epoch 1, lr .*lower lr"):
        training.train(network, recipe | {"lr": 1e30, "warmup_epochs": 0}, IMAGES, tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 2000}, "batch_size: expected at most the 1437 training images of digits, found 2000"),
        ({"batch_size": 400, "epochs": 1, "decay_epochs": 0.5}, "epochs: expected more than 5 steps in all, found 3"),
    ],
)
def test_a_recipe_that_can_not_be_followed_is_refused(change, message, recipe, network, tmp_path):
    with pytest.raises(HubpkgError, match=message):
        training.train(network, recipe | change, IMAGES, tmp_path / "log.jsonl")


def test_what_the_trainer_would_not_follow_is_refused():
    recipe = read_spec("xcit_tiny_12_p16_224", "imagenet2012").recipe
    with pytest.raises(HubpkgError, match=r"auto_augment, .*mixup.*--checkpoint FILE"):
        training.check_supported(recipe)
