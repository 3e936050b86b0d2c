"""The network against MindCV's, against NumPy, and through MindSpore's exporters."""

import ast
import importlib.util
import sys
from functools import partial
from pathlib import Path

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn
from scipy.special import erf

ROOT = Path(__file__).parents[1]
NETWORK_FILE = ROOT / "models" / "xcit_tiny_12_p16_224" / "xcit_tiny_12_p16_224_network.py"
PARAMETER_TABLE = ROOT / "tests" / "data" / "xcit_tiny_12_p16_224.parameters.tsv"
TOLERANCE = 1e-4  # on logits


def load_network_module():
    """The network's module by path; graph mode looks its source up in sys.modules."""
    name = "xcit_network_under_test"
    spec = importlib.util.spec_from_file_location(name, NETWORK_FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


network = load_network_module()


@pytest.fixture(params=["pynative", "graph"])
def mode(request):
    """Runs the test in both of MindSpore's modes."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode={"pynative": mindspore.PYNATIVE_MODE, "graph": mindspore.GRAPH_MODE}[request.param])
    yield request.param
    mindspore.set_context(mode=before)


def random_images(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def randomise(net, seed=0):
    """Moves every parameter off its initial value, so that none is without effect; variances stay positive.

    The noise is small because attention without normalisation amplifies rounding: with 0.05, changing the images by
    one unit in the last place moves MindCV's own logits by 0.1 at 224x224; with 0.02, by 2e-6.
    """
    rng = np.random.default_rng(seed)
    for parameter in net.get_parameters():
        noise = 0.02 * rng.standard_normal(parameter.shape)
        value = parameter.asnumpy() + (np.abs(noise) if "variance" in parameter.name else noise)
        parameter.set_data(Tensor(value.astype(np.float32)))
    return net


def small_xcit(**options):
    """A network of one block of each kind, random in every parameter, in evaluation mode."""
    mindspore.set_seed(0)
    defaults = {"num_classes": 5, "dim": 32, "depth": 1, "num_heads": 2, "class_depth": 1}
    return randomise(network.XCiT(**(defaults | options))).set_train(False)


def assert_same_logits(found, expected):
    assert np.ptp(expected) > 0.1  # logits that hardly vary would agree whatever the network did
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def parameter_values(net):
    return {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}


def mindcv_xcit():
    import mindcv  # the rest of this file runs without it

    return mindcv.create_model("xcit_tiny_12_p16_224")


@pytest.fixture(scope="module")
def equal_networks():
    """MindCV's network and ours, with the same random weights."""
    mindspore.set_seed(0)
    theirs, ours = randomise(mindcv_xcit()), network.XCiT()
    mindspore.load_param_into_net(ours, theirs.parameters_dict(), strict_load=True)
    return theirs.set_train(False), ours.set_train(False)


@pytest.fixture(scope="module")
def equal_small_networks():
    """The same of one block of each kind, which all others are like."""
    from mindcv.models.xcit import XCiT

    sizes = {"num_classes": 10, "depth": 1, "num_heads": 2}
    mindspore.set_seed(0)
    theirs = randomise(
        XCiT(
            embed_dim=32, cls_attn_layers=1, eta=1.0, tokens_norm=True, mlp_ratio=4, qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, epsilon=1e-6), **sizes
        )
    )  # fmt: skip
    ours = network.XCiT(dim=32, class_depth=1, **sizes)
    values = {parameter.name: mindspore.Parameter(parameter.asnumpy()) for parameter in theirs.get_parameters()}
    assert mindspore.load_param_into_net(ours, values, strict_load=True) == ([], [])
    return theirs.set_train(False), ours.set_train(False)


def test_logits_are_mindcvs(equal_networks, mode):  # noqa: ARG001
    theirs, ours = equal_networks
    images = random_images(1, 3, 224, 224)
    assert_same_logits(ours(images).asnumpy(), theirs(images).asnumpy())


@pytest.mark.parametrize("shape", [(2, 3, 96, 160), (2, 3, 32, 128), (3, 3, 32, 32)])
def test_logits_are_mindcvs_for_images_of_other_sizes(equal_networks, equal_small_networks, mode, shape):
    """In graph mode, where each size is compiled, by a network of few blocks."""
    theirs, ours = equal_networks if mode == "pynative" else equal_small_networks
    images = random_images(*shape)
    assert_same_logits(ours(images).asnumpy(), theirs(images).asnumpy())


@pytest.mark.compat
def test_parameters_are_the_published_ones():
    found = [
        f"{p.name}\t{'x'.join(map(str, p.shape))}\t{p.dtype}\t{'yes' if p.requires_grad else 'no'}"
        for p in network.XCiT().get_parameters()
    ]
    assert found == PARAMETER_TABLE.read_text(encoding="utf-8").splitlines()[1:]


@pytest.mark.parametrize(("source", "target"), [(mindcv_xcit, network.XCiT), (network.XCiT, mindcv_xcit)])
def test_checkpoints_load_strictly_both_ways(tmp_path, source, target):
    saved, loaded = randomise(source()), target()
    path = tmp_path / "weights.ckpt"
    mindspore.save_checkpoint(saved, str(path))
    left_over = mindspore.load_param_into_net(loaded, mindspore.load_checkpoint(str(path)), strict_load=True)
    assert left_over == ([], [])
    expected, found = parameter_values(saved), parameter_values(loaded)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def softmax(x):
    exponential = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


def reference_attention(x, weights, num_heads, *, normalize_qk):
    """Equation 2 of the paper, one image and one head at a time, in float64."""
    _, _, dim = x.shape
    d = dim // num_heads
    images = []
    for tokens in x.astype(np.float64):
        qkv = tokens @ weights["qkv.weight"].T + weights["qkv.bias"]
        heads = []
        for head in range(num_heads):
            q, k, v = (qkv[:, part * dim + head * d : part * dim + (head + 1) * d] for part in range(3))  # (N, d)
            if normalize_qk:
                q, k = (m / np.maximum(np.linalg.norm(m, axis=0), 1e-12) for m in (q, k))
            attention = softmax(q.T @ k * weights["temperature"][head, 0, 0])  # row: q's channel, column: k's
            heads.append(v @ attention.T)
        images.append(np.concatenate(heads, axis=1) @ weights["proj.weight"].T + weights["proj.bias"])
    return np.stack(images)


@pytest.mark.compat
@pytest.mark.parametrize("normalize_qk", [False, True])
def test_cross_covariance_attention(mode, normalize_qk):  # noqa: ARG001
    cell = network.CrossCovarianceAttention(12, 3, normalize_qk)
    rng = np.random.default_rng(1)
    for parameter in cell.get_parameters():
        parameter.set_data(Tensor(rng.uniform(-1, 2, parameter.shape).astype(np.float32)))
    x = rng.standard_normal((2, 5, 12)).astype(np.float32)
    weights = parameter_values(cell)
    expected = reference_attention(x, weights, 3, normalize_qk=normalize_qk)
    assert not np.allclose(expected, reference_attention(x, weights, 3, normalize_qk=not normalize_qk), atol=1e-2)
    np.testing.assert_allclose(cell(Tensor(x)).asnumpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.compat
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (2, 8), (4, 3)])
def test_small_grids_give_what_convolutions_give(mode, height, width):  # noqa: ARG001
    cell = randomise(network.LocalPatchInteraction(6, exact_gelu=False)).set_train()
    rng = np.random.default_rng(1)
    x, weights = (Tensor(rng.standard_normal((3, height * width, 6)).astype(np.float32)) for _ in range(2))
    parameters = cell.trainable_params()

    def results(on_cpu):
        cell.on_cpu = on_cpu

        def forward(x):
            return (cell(x, height, width) * weights).sum()

        value, (of_x, of_parameters) = mindspore.value_and_grad(forward, 0, parameters)(x)
        return [value.asnumpy(), of_x.asnumpy(), *(gradient.asnumpy() for gradient in of_parameters)]

    for found, expected in zip(results(on_cpu=True), results(on_cpu=False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.compat
def test_l2_normalisation_divides_by_no_less_than_a_tiny_norm():
    x = np.array([[3, -4], [1e-13, 0], [0, 0]], np.float32)
    np.testing.assert_allclose(network.l2_normalize(Tensor(x)).asnumpy(), [[0.6, -0.8], [0.1, 0], [0, 0]], rtol=1e-6)


@pytest.mark.compat
def test_exact_gelu_and_its_gradient(mode):  # noqa: ARG001
    x = np.linspace(-8, 8, 1601).astype(np.float32)  # 0 among them
    value, gradient = mindspore.value_and_grad(network.GELU(exact=True), grad_position=0)(Tensor(x))
    x = x.astype(np.float64)
    distribution = 0.5 * (1 + erf(x / np.sqrt(2)))
    np.testing.assert_allclose(value.asnumpy(), x * distribution, rtol=0, atol=2e-6)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(gradient.asnumpy(), distribution + x * density, rtol=0, atol=1e-5)


@pytest.mark.compat
@pytest.mark.parametrize("fused", [False, True])
def test_tanh_gelu(mode, fused):  # noqa: ARG001
    cell = network.GELU(exact=False)
    cell.fused = fused
    x = np.linspace(-8, 8, 1601).astype(np.float32)
    value = cell(Tensor(x)).asnumpy()
    x = x.astype(np.float64)
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(value, expected, rtol=0, atol=2e-6)
    assert np.abs(value - 0.5 * x * (1 + erf(x / np.sqrt(2)))).max() > 1e-4


@pytest.mark.compat
@pytest.mark.parametrize("chosen", [None, True])
def test_options_reach_every_cell_and_are_off_by_default(chosen):
    options = {} if chosen is None else {"normalize_qk": chosen, "exact_gelu": chosen}
    cells = [cell for _, cell in small_xcit(**options).cells_and_names()]
    gelus = [cell.exact for cell in cells if isinstance(cell, network.GELU)]
    attentions = [cell.normalize_qk for cell in cells if isinstance(cell, network.CrossCovarianceAttention)]
    assert gelus == [bool(chosen)] * 6  # three in the stem, two in the block, one in the class-attention block
    assert attentions == [bool(chosen)]


@pytest.mark.compat
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (2, 16, 48), (3, 64, 32), (4, 80, 112)])
def test_multiples_of_16_and_1_to_4_channels_are_taken(mode, channels, height, width):  # noqa: ARG001
    net = small_xcit(in_channels=channels)
    images = random_images(3, channels, height, width)
    logits = net(images).asnumpy()
    assert logits.shape == (3, 5)
    # Each image has its own logits, whatever else is in the batch, and every channel counts.
    others = random_images(3, channels, height, width, seed=1).asnumpy()
    others[1] = images[1].asnumpy()
    np.testing.assert_allclose(net(Tensor(others)).asnumpy()[1], logits[1], rtol=0, atol=TOLERANCE)
    for channel in range(channels):
        changed = images.asnumpy().copy()
        changed[:, channel] += 1
        assert np.abs(net(Tensor(changed)).asnumpy() - logits).max() > TOLERANCE


@pytest.mark.compat
def test_other_images_are_refused(mode, monkeypatch, tmp_path):  # noqa: ARG001
    monkeypatch.chdir(tmp_path)  # a failed compilation leaves a dump in the working folder
    net = small_xcit()
    for shape, message in (
        ((1, 3, 30, 32), "XCiT expects height and width to be multiples of 16, found 30 x 32"),
        ((1, 3, 32, 40), "XCiT expects height and width to be multiples of 16, found 32 x 40"),
        ((1, 3, 8, 8), "XCiT expects height and width to be multiples of 16, found 8 x 8"),
        ((1, 4, 32, 32), "XCiT expects images of shape (batch, 3, height, width), found (1, 4, 32, 32)"),
        ((3, 32, 32), "XCiT expects images of shape (batch, 3, height, width), found (3, 32, 32)"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
            net(random_images(*shape))
        assert str(caught.value) == message
    assert net(random_images(1, 3, 32, 32)).shape == (1, 5)  # the refusals do no harm


@pytest.mark.compat
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "XCiT expects in_channels to be an integer of at least 1, found 0"),
        ({"in_channels": 5}, "XCiT expects in_channels from 1 to 4, found 5"),
        ({"in_channels": 3.0}, "XCiT expects in_channels to be an integer of at least 1, found 3.0"),
        ({"num_classes": 0}, "XCiT expects num_classes to be an integer of at least 1, found 0"),
        ({"num_classes": "10"}, "XCiT expects num_classes to be an integer of at least 1, found '10'"),
        ({"patch_size": 14}, "XCiT expects patch_size 8 or 16, found 14"),
        ({"depth": -1}, "XCiT expects depth to be an integer of at least 1, found -1"),
        ({"class_depth": 0}, "XCiT expects class_depth to be an integer of at least 1, found 0"),
        ({"num_heads": 0}, "XCiT expects num_heads to be an integer of at least 1, found 0"),
        ({"num_heads": 5}, "XCiT expects dim to be a multiple of num_heads (5) and patch_size (16), found 192"),
        ({"dim": 100}, "XCiT expects dim to be a multiple of num_heads (4) and patch_size (16), found 100"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        network.XCiT(**arguments)
    assert str(caught.value) == message


@pytest.mark.compat
def test_patches_of_8_pixels():
    assert small_xcit(patch_size=8)(random_images(1, 3, 24, 8)).shape == (1, 5)


def onnxruntime_logits(net, images, folder):
    import onnxruntime  # the rest of this file runs without it

    mindspore.export(net, images, file_name=str(folder / "network.onnx"), file_format="ONNX")
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.asnumpy()})
    return logits


@pytest.mark.compat
@pytest.mark.parametrize("chosen", [False, True])
def test_onnx_runtime_gives_the_same_logits(mode, tmp_path, chosen):  # noqa: ARG001
    net, images = small_xcit(normalize_qk=chosen, exact_gelu=chosen), random_images(2, 3, 32, 48)
    assert_same_logits(onnxruntime_logits(net, images, tmp_path), net(images).asnumpy())


def test_onnx_runtime_gives_the_same_logits_for_the_whole_network(equal_networks, tmp_path):
    _, net = equal_networks
    images = random_images(1, 3, 224, 224)
    assert_same_logits(onnxruntime_logits(net, images, tmp_path), net(images).asnumpy())


@pytest.mark.compat
@pytest.mark.parametrize("chosen", [False, True])
def test_mindir_gives_the_same_logits(mode, tmp_path, chosen):  # noqa: ARG001
    net, images = small_xcit(normalize_qk=chosen, exact_gelu=chosen), random_images(2, 3, 32, 48)
    path = str(tmp_path / "network.mindir")
    mindspore.export(net, images, file_name=path, file_format="MINDIR")
    assert_same_logits(nn.GraphCell(mindspore.load(path))(images).asnumpy(), net(images).asnumpy())


@pytest.mark.compat
@pytest.mark.parametrize("chosen", [False, True])
def test_every_trainable_parameter_gets_a_finite_gradient(mode, chosen):  # noqa: ARG001
    net = small_xcit(normalize_qk=chosen, exact_gelu=chosen).set_train()
    loss, parameters = nn.CrossEntropyLoss(), net.trainable_params()

    def forward(images, labels):
        return loss(net(images), labels)

    labels = Tensor(np.array([0, 1, 2, 3], np.int32))
    gradients = mindspore.value_and_grad(forward, None, parameters)(random_images(4, 3, 32, 48), labels)[1]
    assert len(gradients) == len(parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert np.isfinite(gradient.asnumpy()).all(), parameter.name
        assert np.any(gradient.asnumpy()), parameter.name


@pytest.mark.compat
def test_training_lowers_the_loss(mode):  # noqa: ARG001
    net = small_xcit()
    optimizer = nn.AdamWeightDecay(net.trainable_params(), learning_rate=1e-3)
    step = nn.TrainOneStepCell(nn.WithLossCell(net, nn.CrossEntropyLoss()), optimizer).set_train()
    images, labels = random_images(4, 3, 32, 32), Tensor(np.array([0, 1, 2, 3], np.int32))
    losses = [float(step(images, labels).asnumpy()) for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.compat
def test_imports_nothing_but_mindspore_and_what_it_needs():
    imported = set()
    for node in ast.walk(ast.parse(NETWORK_FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.partition(".")[0])
    assert imported == {"itertools", "mindspore", "numpy"}
