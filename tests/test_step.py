"""One training step, against MindCV's network, loss and optimizer, and against its own definition."""

import sys

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn

from hubpkg.entrypoint import loaded
from hubpkg.runtime.step import Step, WithLoss
from hubpkg.spec import find_model

MODEL = "xcit_tiny_12_p16_224"
RECIPE = {"weight_decay": 0.05, "label_smoothing": 0.1}
SIZES = {"depth": 1, "num_heads": 2}


@pytest.fixture(scope="module", autouse=True)
def graph_mode():
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    yield
    mindspore.set_context(mode=before)


@pytest.fixture(scope="module")
def network_class():
    folder = find_model(MODEL)
    sources = {file.name: file.read_bytes() for file in folder.glob("*.py")}
    with loaded(folder, sources) as create_network:
        return sys.modules[type(create_network(MODEL)).__module__].XCiT


@pytest.fixture(scope="module")
def make(network_class):
    def made():
        mindspore.set_seed(3)
        return network_class(num_classes=10, dim=32, class_depth=1, **SIZES)

    return made


def batches(count, classes=10, size=8):
    generator = np.random.default_rng(5)
    for _ in range(count):
        images = generator.standard_normal((size, 3, 32, 32)).astype(np.float32)
        yield Tensor(images), Tensor(generator.integers(classes, size=size).astype(np.int32))


def run(step, count, **options):
    return [[output.asnumpy().item() for output in step(*batch)] for batch in batches(count, **options)]


@pytest.fixture(scope="module")
def exact(make):
    """What four steps give in float32, with nothing but the recipe's loss and decay."""
    return run(Step(make(), RECIPE, [1e-3] * 4), 4)


def test_twenty_steps_are_those_of_mindcvs_network_loss_and_optimizer(make):
    """The networks have the same weights; a learning rate that warms up, and weight decay for matrices alone."""
    from functools import partial

    from mindcv import create_loss, create_optimizer
    from mindcv.models.xcit import XCiT
    from mindcv.utils.trainer_factory import create_trainer

    rates = [1e-3 * (1 + step) / 20 for step in range(20)]
    network = make()
    theirs = XCiT(
        embed_dim=32, num_classes=10, cls_attn_layers=1, eta=1.0, tokens_norm=True, mlp_ratio=4, qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, epsilon=1e-6), **SIZES
    )  # fmt: skip
    values = {parameter.name: mindspore.Parameter(parameter.asnumpy()) for parameter in network.get_parameters()}
    missing, _ = mindspore.load_param_into_net(theirs, values, strict_load=True)
    assert missing == []
    optimizer = create_optimizer(
        theirs.trainable_params(), "adamw", lr=rates, weight_decay=0.05, weight_decay_filter="norm_and_bias"
    )
    loss = create_loss("CE", label_smoothing=0.1)
    trainer = create_trainer(theirs, loss, optimizer, {}, amp_level="O0", amp_cast_list=None, loss_scale_type="fixed")
    expected = [trainer.train_network.set_train()(*batch).asnumpy().item() for batch in batches(20)]
    found = [loss for loss, *_ in run(Step(network, RECIPE, rates), 20)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert max(expected) - min(expected) > 0.05  # the weights did change


def test_the_weights_that_decay_are_mindcvs():
    from mindcv import create_model
    from mindcv.optim.optim_factory import init_group_params

    network = create_model(MODEL)
    decayed, others, _ = init_group_params(network.trainable_params(), 0.05, "norm_and_bias", ())
    ours = Step(network, RECIPE, [1e-3]).optimizer
    found = {decay: {p.name for p in group} for decay, group in ((True, decayed["params"]), (False, others["params"]))}
    for parameter, decays in zip(ours.parameters, ours.decay_flags, strict=True):
        assert parameter.name in found[bool(decays)]
    assert len(found[True]) + len(found[False]) == len(ours.parameters)


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_the_loss_is_mindcvs(soft):
    from mindcv import create_loss

    generator = np.random.default_rng(0)
    logits = Tensor(generator.standard_normal((6, 10)).astype(np.float32))
    targets = Tensor(generator.integers(10, size=6).astype(np.int32))
    if soft:
        targets = Tensor(generator.dirichlet(np.ones(10), 6).astype(np.float32))
    found = WithLoss(nn.Identity(), RECIPE)(logits, targets).asnumpy()
    expected = create_loss("CE", label_smoothing=0.1)(logits, targets).asnumpy()
    assert found == pytest.approx(expected, abs=1e-6)


def frozen_statistics(network):
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.use_batch_statistics = False
    return network


def weights(network):
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def test_accumulated_steps_make_the_update_of_one_large_one(make):
    """With statistics frozen, as those of a batch are its own."""
    small, large = frozen_statistics(make()), frozen_statistics(make())
    (batch, labels), *_ = batches(1)
    accumulating = Step(small, {**RECIPE, "grad_accumulation": 2}, [1e-3] * 2)
    before = weights(small)
    halves = [accumulating(batch[:4], labels[:4]), None]
    assert all(np.array_equal(before[name], value) for name, value in weights(small).items())
    halves[1] = accumulating(batch[4:], labels[4:])
    whole = Step(large, RECIPE, [1e-3] * 2)(batch, labels)
    assert np.mean([half[0].asnumpy() for half in halves]) == pytest.approx(whole[0].asnumpy(), abs=1e-6)
    assert halves[1][1].asnumpy() == pytest.approx(whole[1].asnumpy(), abs=1e-5)
    for name, value in weights(large).items():
        # Where a gradient is about 0, the first step's direction hangs on rounding.
        assert np.abs(weights(small)[name] - value).mean() < 1e-5, name


def test_gradients_are_clipped_to_their_norm(make, exact):
    norm = 0.01
    step = Step(make(), {**RECIPE, "clip_norm": norm}, [1e-3] * 2)
    (_, found, *_), *_ = run(step, 1)
    assert found == pytest.approx(exact[0][1])  # what is logged is the norm before clipping
    moments = np.sqrt(sum((m.asnumpy().astype(np.float64) ** 2).sum() for m in step.optimizer.moments1))
    assert moments == pytest.approx(0.1 * norm, rel=1e-3)


def test_averages_follow_the_weights_faster_at_first(make):
    network = make()
    step = Step(network, {**RECIPE, "ema_decay": 0.9}, [1e-2] * 5)
    expected = weights(network)
    for update, batch in enumerate(batches(4), start=1):
        step(*batch)
        decay = 0.9 * (1 - np.exp(-update / 2000))
        expected = {name: decay * expected[name] + (1 - decay) * value for name, value in weights(network).items()}
    for average, parameter in zip(step.averages, network.get_parameters(), strict=True):
        np.testing.assert_allclose(average.asnumpy(), expected[parameter.name], atol=1e-5)
    assert step.updates.asnumpy() == 4


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_mixed_precision_computes_in_float16_and_trains_the_same(level, make, exact):
    exact = [loss for loss, *_ in exact]
    recipe = {**RECIPE, "amp_level": level, "loss_scale": 1024}
    found = run(Step(make(), recipe, [1e-3] * 4), 4)
    assert [loss for loss, *_ in found] == pytest.approx(exact, abs=0.01)
    assert [loss for loss, *_ in found] != exact  # other precision, other digits
    assert {(scale, overflow) for _, _, scale, overflow in found} == {(1024.0, False)}


def test_an_overflow_leaves_the_weights_alone_and_halves_a_dynamic_scale(make):
    network = make()
    recipe = {**RECIPE, "amp_level": "O2", "loss_scale": "dynamic"}
    step = Step(network, recipe, [1e-3] * 4)
    step.scale.set_data(Tensor(2.0**40, mindspore.float32))
    before = {p.name: p.asnumpy().copy() for p in network.trainable_params()}
    (_, norm, scale, overflow), *_ = run(step, 1)
    assert not np.isfinite(norm)
    assert overflow
    assert scale == 2.0**40
    assert step.scale.asnumpy() == 2.0**39
    assert all(np.array_equal(before[p.name], p.asnumpy()) for p in network.trainable_params())
    assert step.optimizer.global_step.asnumpy() == 0


def test_a_dynamic_scale_doubles_after_many_good_steps(make):
    step = Step(make(), {**RECIPE, "amp_level": "O2", "loss_scale": "dynamic"}, [1e-3] * 4)
    step.scale.set_data(Tensor(256.0, mindspore.float32))
    step.good.set_data(Tensor(1999, mindspore.int32))
    run(step, 2)
    assert (step.scale.asnumpy(), step.good.asnumpy()) == (512, 1)


def test_branches_that_are_not_kept_are_left_out(make):
    network = make()
    (images, _), *_ = batches(1)
    count = network.residual_branches
    assert count == 3
    plain = network.set_train(False)(images).asnumpy()
    kept = network(images, Tensor(np.ones((count, 8), np.float32))).asnumpy()
    np.testing.assert_allclose(kept, plain, atol=1e-5)
    keep = np.ones((count, 8), np.float32)
    keep[:, 3] = 0
    dropped = network(images, Tensor(keep)).asnumpy()
    others = [index for index in range(8) if index != 3]
    np.testing.assert_allclose(dropped[others], plain[others], atol=1e-5)
    assert np.abs(dropped[3] - plain[3]).max() > 0.01
