"""How samples are taken: how many, after what warm-up, of which calls."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from hubpkg.errors import HubpkgError
from hubpkg.runtime import engines, timing

RECIPE = {
    "image_size": 32, "in_channels": 1, "num_classes": 10, "batch_size": 4, "jit_level": "O0",
    "lr": 1e-3, "weight_decay": 0.0, "label_smoothing": 0.0,
}  # fmt: skip


class Engine:
    """Takes ``seconds`` for a call, ``first`` for the first one of a shape, by a clock of its own."""

    def __init__(self, monkeypatch, seconds, first=0.0):
        self.now = 0.0
        self.calls = []
        self.seconds = seconds
        self.first = first
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __call__(self, images):
        assert images.dtype == np.float32
        self.now += self.seconds + (0 if images.shape in self.calls else self.first)
        self.calls.append(images.shape)
        return np.zeros((len(images), 10), np.float32)


@pytest.mark.parametrize(
    ("batch_size", "seconds", "warmup", "samples"),
    [
        (1, 0.001, 4, 100),  # single images: the 99th percentile is shown
        (8, 0.001, 4, 50),
        (8, 0.1, 4, 50),
        (8, 0.5, 4, 20),  # 10 s
        (1, 0.5, 4, 20),
        (8, 3.0, 4, 5),  # no fewer, however long they take
        (8, 30.0, 2, 5),
    ],
)
def test_there_are_so_many_samples_or_ten_seconds_but_a_few_at_least(monkeypatch, batch_size, seconds, warmup, samples):
    engine = Engine(monkeypatch, seconds, first=7.0)
    (found,) = timing.time_inference(engine, RECIPE, [batch_size])
    assert set(engine.calls) == {(batch_size, 1, 32, 32)}
    assert (found.warmup, len(found.ms)) == (warmup, samples)
    assert len(engine.calls) == warmup + samples
    assert found.ms == pytest.approx([1e3 * seconds] * samples)
    assert found.compile_seconds == pytest.approx(7.0)
    assert found.batch_size == batch_size


def test_a_timing_says_what_was_timed(monkeypatch):
    engine = Engine(monkeypatch, 0.01)
    found = list(timing.time_inference(engine, RECIPE, [1, 4], engine="onnxruntime", precision="float16"))
    assert [(t.batch_size, t.image_size, t.jit_level, t.engine, t.precision, t.devices) for t in found] == [
        (count, 32, "O0", "onnxruntime", "float16", 1) for count in (1, 4)
    ]


def test_a_batch_size_is_given_out_as_soon_as_it_is_timed(monkeypatch):
    engine = Engine(monkeypatch, 0.01)
    timings = timing.time_inference(engine, RECIPE, [1, 4])
    assert next(timings).batch_size == 1
    assert {shape[0] for shape in engine.calls} == {1}


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError("std::bad_alloc"), "expected memory enough, found too little (std::bad_alloc); try a smaller"),
        (
            RuntimeError("\n-----\n- Kernel select failed:\n-----\nOut of memory\nmore"),
            "expected memory enough, found too little (Out of memory); try a smaller batch_size",
        ),
        (RuntimeError("\n-----\n- Kernel select failed\nUnsupported op"), "found RuntimeError: Unsupported op"),
        (RuntimeError(""), "found RuntimeError: no reason given"),
    ],
)
def test_a_call_that_fails_is_told_in_one_line(error, found):
    def fail(_):
        raise error

    with pytest.raises(HubpkgError) as caught:
        list(timing.time_inference(fail, RECIPE, [8]))
    assert str(caught.value).startswith("time x8, images of 32x32: expected ")
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_batch_sizes_are_one_eight_and_the_recipe_s_which_is_the_largest():
    sizes = [timing.throughput_sizes({"batch_size": n}) for n in (1, 4, 8, 64)]
    assert sizes == [[1], [1, 4], [1, 8], [1, 8, 64]]


@pytest.fixture
def dense():
    """A small network, in graph mode."""
    from mindspore import nn

    from hubpkg.runtime import framework

    framework.start("O0", "CPU")
    return nn.SequentialCell([nn.Flatten(), nn.Dense(32 * 32, 10)])


@pytest.mark.parametrize(("precision", "least", "most"), [("float32", 0, 1e-5), ("float16", 1e-5, 1e-2)])
def test_a_mindspore_engine_gives_the_network_s_logits_as_float32(dense, precision, least, most):
    timing.set_precision(dense, precision, RECIPE)
    images = np.random.default_rng(0).standard_normal((3, 1, 32, 32), np.float32)
    found = engines.run_network(dense.set_train(False), images)
    weight, bias = (parameter.asnumpy() for parameter in dense.get_parameters())
    assert found.dtype == np.float32
    assert least <= np.abs(found - images.reshape(3, -1) @ weight.T - bias).max() < most


def test_a_precision_that_the_device_does_not_take_is_refused_in_one_line(tmp_path, monkeypatch):
    from mindspore import nn

    from hubpkg.runtime import framework

    monkeypatch.chdir(tmp_path)
    framework.start("O0", "CPU")
    network = nn.SequentialCell([nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Dense(2 * 32 * 32, 10)])
    with pytest.raises(
        HubpkgError, match=r"^--precision: expected one .* on the CPU, .* found bfloat16: .*type"
    ) as caught:
        timing.set_precision(network, "bfloat16", RECIPE)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", [None, "float32", "float16"])
def test_training_steps_are_timed_and_change_the_weights(dense, precision):
    before = dense.trainable_params()[0].asnumpy().copy()
    if precision:
        timing.set_precision(dense, precision, RECIPE)
    found = timing.time_training(dense, RECIPE, precision)
    assert (len(found.ms), found.warmup, found.batch_size) == (50, 5, 4)
    assert found.precision == (precision or "float32")
    assert found.compile_seconds > 0
    assert found.conditions.own_cpus > 0
    assert np.abs(dense.trainable_params()[0].asnumpy() - before).max() > 0


def test_slow_training_steps_are_fewer(dense, monkeypatch):
    clock = itertools.count(step=4.0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    found = timing.time_training(dense, RECIPE)
    assert 5 <= len(found.ms) < 10
    assert found.ms == [4000.0] * len(found.ms)
