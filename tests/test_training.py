"""Training: the log, what is validated and kept, what is frozen, and what is refused."""

import json
import shutil
from dataclasses import replace

import mindspore
import numpy as np
import pytest

from hubpkg import checkpoint, trained
from hubpkg.errors import HubpkgError
from hubpkg.job import Job
from hubpkg.runtime import datasets, engines, snapshot, training, training_log
from hubpkg.spec import ModelSpec, find_model, read_spec

IMAGES, TEST = (datasets.find("digits").read(split, None) for split in ("train", "test"))


@pytest.fixture(scope="module")
def recipe():
    short = {"epochs": 1, "warmup_epochs": 0.1, "decay_epochs": 0.9, "lr": 0.01}
    return dict(read_spec("xcit_tiny_12_p16_224", "digits").recipe) | short


@pytest.fixture(scope="module")
def task(models, recipe):
    """Makes the task of training the small model."""

    def made(**changes):
        spec = ModelSpec(find_model("xcit_small"), "digits", {"model-name": "xcit_small"}, recipe | changes)
        job = Job(spec, None, None, print)
        mindspore.set_seed(1)
        return training.Task(job.network(), job.network(), spec.recipe, IMAGES, TEST, print)

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HUBPKG_MODELS", str(models))
        yield made


TWO_EPOCHS = {"epochs": 2, "decay_epochs": 1.9}


@pytest.fixture(scope="module")
def trained_once(task, tmp_path_factory):
    """The folder of a run of two epochs, what came of it, and what it told; tests read it and leave it as it is."""
    folder, told = tmp_path_factory.mktemp("run"), []
    made = replace(task(**TWO_EPOCHS), report=told.append)
    return folder, training.train(made, folder), told


@pytest.fixture
def run(trained_once, tmp_path):
    """A copy of that run's folder, for a test to change."""
    return shutil.copytree(trained_once[0], tmp_path / "run")


def lines(run):
    return [json.loads(line) for line in (run / trained.LOG).read_text().splitlines()]


def test_the_loss_falls_and_every_step_is_logged(trained_once):
    folder, result, told = trained_once
    steps = [line for line in lines(folder) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 45))
    assert [line["epoch"] for line in steps] == [1] * 22 + [2] * 22
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert steps[0].keys() == {
        "step", "epoch", "loss", "lr", "grad_norm", "scale", "images", "ms", "images_per_second", "memory_mb"
    }  # fmt: skip
    assert min(min(line["grad_norm"], line["images_per_second"], line["memory_mb"]) for line in steps) > 0
    assert result.timing.ms == [line["ms"] for line in steps[training.WARMUP_STEPS :]]
    assert result.timing.compile_seconds > 0
    validated = [line["validation"] for line in lines(folder) if "validation" in line]
    assert len(validated) == 2
    assert result.metrics == validated[-1]["weights"]
    assert result.best["top1"] == max(found["weights"]["top1"] for found in validated)
    assert told[0].startswith("train: epoch 1 of 2, step 22 of 44: loss ")
    assert f"top-1 of the weights {validated[0]['weights']['top1']:.2f} %" in told[0]


def test_weights_and_averages_are_validated_and_the_averages_are_kept(task, tmp_path):
    made = task(ema_decay=0.5)
    result = training.train(made, tmp_path)
    assert result.averaged
    (validated,) = (line["validation"] for line in lines(tmp_path) if "validation" in line)
    assert validated.keys() == {"weights", "average"}
    found, network = {}, task().twin
    checkpoint.save(made.network, tmp_path / "weights.ckpt")
    for kind, file in (("weights", "weights.ckpt"), ("average", trained.MODEL)):
        checkpoint.restore(network, tmp_path / file)
        correct = [
            int((engines.run_network(network.set_train(False), batch).argmax(1)[: len(labels)] == labels).sum())
            for batch, labels in datasets.batches(TEST, made.recipe, 64)
        ]
        found[kind] = round(100 * sum(correct) / len(TEST), 4)
    assert found == {kind: value["top1"] for kind, value in validated.items()}
    assert result.metrics["top1"] == found["average"]


def test_a_run_that_broke_goes_on_from_its_last_snapshot_and_logs_no_step_twice(task, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    changes = {"epochs": 2, "decay_epochs": 1.9, "ema_decay": 0.9, "grad_accumulation": 2}
    training.train(task(**changes), whole)
    with monkeypatch.context() as patched:
        add = training_log.Log.add

        def break_at_30(log, entry):
            add(log, entry)
            if entry["step"] == 30:
                raise OSError(28, "No space left on device")

        patched.setattr(training_log.Log, "add", break_at_30)
        with pytest.raises(OSError, match="No space"):
            training.train(task(**changes), broken)
    assert snapshot.newest(broken).batches == 22
    resumed = training.train(task(**changes), broken)
    assert resumed.resumed == (22,)
    assert (whole / trained.MODEL).read_bytes() == (broken / trained.MODEL).read_bytes()
    same = [
        [{key: line[key] for key in line.keys() - {"ms", "images_per_second", "memory_mb"}} for line in lines(run)]
        for run in (whole, broken)
    ]
    assert same[0] == [line for line in same[1] if line != {"step": 22, "started": True}]


def test_the_same_seed_gives_the_same_weights_with_a_data_sink_and_without(task, tmp_path, monkeypatch, capsys):
    """What a sink does on Ascend is MindSpore's: the one here takes the batches from the data set as that does."""
    changes = {"mixup": 0.8, "drop_path": 0.1, "sink": True}
    for name in ("plain", "sunk"):
        (tmp_path / name).mkdir()
    training.train(task(**changes), tmp_path / "plain")
    assert "train: sink is not used: MindSpore has none on the CPU" in capsys.readouterr().out

    def data_sink(step, data, sink_size):
        assert sink_size == 1
        batches = data.create_tuple_iterator(num_epochs=1)
        return lambda: step(*next(batches))

    context, made = mindspore.get_context, task(**changes)
    monkeypatch.setattr(mindspore, "data_sink", data_sink)
    monkeypatch.setattr(mindspore, "get_context", lambda key: "Ascend" if key == "device_target" else context(key))
    monkeypatch.setattr(mindspore.runtime, "max_memory_allocated", lambda: 2**30)
    training.train(made, tmp_path / "sunk")
    files = [(tmp_path / name / trained.MODEL).read_bytes() for name in ("plain", "sunk")]
    assert files[0] == files[1]
    assert lines(tmp_path / "sunk")[1]["memory_mb"] == 1024


@pytest.mark.parametrize("pattern", [["*weight", "cls_token", "*temperature"], ["[!h]*", "head.bias"]])
def test_one_kind_of_parameters_can_be_trained_alone(pattern, task, tmp_path):
    assert training.train(task(freeze=pattern), tmp_path).steps == 22


def test_a_run_that_was_stopped_after_its_last_step_is_finished(task, run):
    first = (run / trained.MODEL).read_bytes()
    (run / trained.MODEL).unlink()
    assert training.train(task(**TWO_EPOCHS), run).resumed == (44,)
    assert (run / trained.MODEL).read_bytes() == first


def test_overflows_are_counted_by_update_and_the_rate_waits_for_them(task, tmp_path):
    recipe = {"amp_level": "O2", "loss_scale": 2.0**100, "batch_size": 8, "grad_accumulation": 2}
    with pytest.raises(HubpkgError, match="50 updates in a row, the last one at step 100, "):
        training.train(task(**recipe), tmp_path)
    steps = [line for line in lines(tmp_path) if "loss" in line]
    assert {line["lr"] for line in steps} == {0.0}  # no update was made
    assert {line["grad_norm"] for line in steps} == {None}


def test_a_smaller_last_batch_counts_for_what_it_is(task, tmp_path):
    result = training.train(task(drop_remainder=False), tmp_path)
    steps = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["images"] for line in steps] == [64] * 22 + [29]
    assert len(result.timing.ms) == 22 - training.WARMUP_STEPS


def test_a_damaged_snapshot_is_passed_over(run):
    kept = snapshot.newest(run)
    assert kept.batches == 44
    data = bytearray(kept.file.read_bytes())
    data[1000] ^= 1
    kept.file.write_bytes(data)
    assert snapshot.newest(run).batches == 22


def test_what_is_frozen_stays_as_it_is_statistics_included(task, tmp_path):
    made = task(freeze=["patch_embed.*", "*.attn.qkv.weight"], ema_decay=0.9)
    before = {p.name: p.asnumpy().copy() for p in made.network.get_parameters()}
    training.train(made, tmp_path)
    changed = {p.name for p in made.network.get_parameters() if not np.array_equal(before[p.name], p.asnumpy())}
    assert not {name for name in changed if name.startswith("patch_embed.") or name.endswith("attn.qkv.weight")}
    averages = {p.name.removeprefix("average."): p.asnumpy() for p in mindspore.load_checkpoint(
        str(snapshot.newest(tmp_path).file)).values() if p.name.startswith("average.")}  # fmt: skip
    assert all(np.array_equal(before[name], averages[name]) for name in before.keys() - changed)
    assert {"head.weight", "blocks.0.attn.proj.weight", "blocks.0.local_mp.bn.moving_mean"} <= changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lr": 1e30, "warmup_epochs": 0},
            r"expected a finite loss, found .* at step \d+, epoch 1, lr .*; try a lower",
        ),
        ({"batch_size": 2000}, "batch_size: expected at most the 1437 training images of digits, found 2000"),
        ({"batch_size": 400}, "epochs: expected more than 5 steps in all, found 3"),
        (
            {"freeze": ["blocks.*", "stem.*"]},
            r"freeze: expected a pattern of .*, found 'stem\.\*', which",
        ),
        ({"freeze": ["*"]}, "freeze: expected parameters that are left to train, found none"),
        (
            {"amp_level": "O2", "loss_scale": 2.0**100, "batch_size": 16},
            r"found others in 50 updates in a row, .* at step 50, .* and loss scale 1.26765e\+30; try loss_scale",
        ),
    ],
)
def test_what_can_not_be_gone_on_with_is_refused(change, message, task, tmp_path):
    with pytest.raises(HubpkgError, match=message):
        training.train(task(**change), tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            lambda labels: [4 for _ in labels],
            "expected training images of at least two classes, found 1437 images, all ",
        ),
        (lambda labels: [*labels[:-1], 10], "expected a label from 0 to 9, as num_classes says, found 10; 1 of 1437"),
        (lambda labels: [-1, *labels[1:]], "expected a label from 0 to 9, as num_classes says, found -1; 1 of 1437"),
    ],
)
def test_labels_that_can_not_be_learned_are_refused(labels, message, recipe):
    images = replace(IMAGES, labels=labels(list(IMAGES.labels)))
    with pytest.raises(HubpkgError, match=message):
        training.check(recipe, images, 1)


def test_branches_are_dropped_in_networks_that_have_them_only(task, tmp_path):
    made = task(drop_path=0.1)
    del made.network.residual_branches
    with pytest.raises(HubpkgError, match="drop_path: expected a network with the attribute residual_branches"):
        training.train(made, tmp_path)
