"""XCiT: image transformers whose attention runs over channels instead of tokens.

Written from A. El-Nouby et al., "XCiT: Cross-Covariance Image Transformers", arXiv 2106.09681 (the class attention is
that of H. Touvron et al., "Going deeper with Image Transformers", arXiv 2103.17239). Needs nothing but MindSpore.

Parameter names are the contract with published checkpoints, and so stay as they are: ``pos_embeder`` with one ``d``,
``local_mp`` for the local patch interaction, and stem layers numbered with the activations between them.
Shapes in comments: B images, N tokens, C channels, h heads of d channels each (C = h * d).
"""

from itertools import pairwise

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal, initializer

POSITION_CHANNELS = 32  # sine and cosine channels per axis
POSITION_TEMPERATURE = 10000
EPSILON = 1e-6  # of layer normalisation
SMALL_GRID = 16  # tokens up to which a depth-wise convolution is faster as a matrix product on the CPU


@ops.constexpr
def token_grid(shape, in_channels, patch_size):
    """Height and width of the grid of tokens for images of ``shape`` (B, in_channels, height, width).

    Raises:
        ValueError: the shape is not one that the network takes.
    """
    if len(shape) != 4 or shape[1] != in_channels:
        raise ValueError(f"XCiT expects images of shape (batch, {in_channels}, height, width), found {tuple(shape)}")
    height, width = shape[2:]
    if min(height, width) < patch_size or height % patch_size or width % patch_size:
        raise ValueError(f"XCiT expects height and width to be multiples of {patch_size}, found {height} x {width}")
    return height // patch_size, width // patch_size


@ops.constexpr
def fourier_positions(height, width):
    """Sine and cosine of each token's place, a constant of shape (1, 2 * POSITION_CHANNELS, height, width).

    Computed ahead with NumPy, so that an exported graph holds the values and none of the operators.
    """
    exponent = 2 * (np.arange(POSITION_CHANNELS) // 2) / POSITION_CHANNELS
    period = (POSITION_TEMPERATURE**exponent).astype(np.float32)

    def encode(length):
        # 1-based place in (0, 2 pi], each period in turn as sine (even channels) and cosine (odd ones)
        place = np.arange(1, length + 1, dtype=np.float32)
        place = place / (place[-1] + np.float32(1e-6)) * np.float32(2 * np.pi)
        angle = place[:, None] / period
        return np.where(np.arange(POSITION_CHANNELS) % 2, np.cos(angle), np.sin(angle)).T  # (channels, length)

    rows = np.broadcast_to(encode(height)[:, :, None], (POSITION_CHANNELS, height, width))
    columns = np.broadcast_to(encode(width)[:, None, :], (POSITION_CHANNELS, height, width))
    return Tensor(np.concatenate([rows, columns])[None], mindspore.float32)


@ops.constexpr
def neighbours(height, width):
    """Which token lies where in the 3x3 window of which, a constant of shape (9, N * N) of zeros and ones.

    Element (3 * i + j, m * N + n) is 1 where token m is what kernel element (i, j) meets when the window is at token n.
    """
    rows, columns = np.divmod(np.arange(height * width), width)
    down, right = rows[:, None] - rows + 1, columns[:, None] - columns + 1
    elements = [(down == i) & (right == j) for i in range(3) for j in range(3)]
    return Tensor(np.stack(elements).reshape(9, -1), mindspore.float32)


def erf(z):
    """Error function of ``z`` >= 0 to within 1.5e-7, as good as float32 (Abramowitz and Stegun, formula 7.1.26).

    MindSpore's own operator cannot be exported to ONNX, nor can the reciprocal that newer versions make of ``1.0 / z``.
    """
    t = ops.Div()(1.0, 1.0 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 1.0 - series * ops.exp(-z * z)


class GELU(nn.Cell):
    """Gaussian error linear unit, by its tanh approximation or exact.

    MindSpore's fused kernel is the right one on Ascend; on the CPU its parts are faster, and the sigmoid is more exact
    than the tanh.
    """

    def __init__(self, exact):
        super().__init__()
        self.exact = exact
        self.fused = mindspore.get_context("device_target") != "CPU"

    def construct(self, x):
        if self.exact:
            magnitude = ops.abs(x)
            return 0.5 * (x + magnitude * erf(0.7071067811865476 * magnitude))
        if self.fused:
            return ops.gelu(x, approximate="tanh")
        # (1 + tanh u) / 2 = sigmoid 2u, with u = (2 / pi)^0.5 * (x + 0.044715 x^3)
        return x * ops.sigmoid(x * (1.5957691216057308 + 0.07135481627159 * (x * x)))


def l2_normalize(x):
    """``x`` divided by its norm along the last axis, spelled out since the ready operator has no ONNX counterpart."""
    return x / ops.sqrt(ops.maximum((x * x).sum(-1, keepdims=True), 1e-24))


def dense(in_channels, out_channels):
    """A linear layer with the initial weights of the paper's code."""
    return nn.Dense(in_channels, out_channels, weight_init=TruncatedNormal(0.02), bias_init="zeros")


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels.

    MindSpore's kernel is the right one on Ascend and for training. On the CPU it runs on one core, and its parts take
    half of its time; products with a row spread what each token has over its channels, faster than broadcasting does.
    """

    def __init__(self, dim):
        super().__init__([dim], epsilon=EPSILON)
        self.channels = dim
        self.on_cpu = mindspore.get_context("device_target") == "CPU"

    def construct(self, x):
        if not self.on_cpu or self.training or x.dtype != mindspore.float32:
            return super().construct(x)
        tokens = x.reshape((-1, self.channels))
        mean = ops.ReduceMean(keep_dims=True)(tokens, -1)  # (tokens, 1)
        centred = tokens - ops.MatMul()(mean, ops.ones((1, self.channels), mindspore.float32))
        variance = ops.ReduceMean(keep_dims=True)(centred * centred, -1)
        scale = ops.MatMul()(ops.Div()(1.0, ops.sqrt(variance + EPSILON)), self.gamma.reshape((1, self.channels)))
        return ops.BiasAdd()(centred * scale, self.beta).reshape(x.shape)


def layer_scale(dim, value):
    """A factor for each channel of a residual."""
    return Parameter(Tensor(np.full(dim, value), mindspore.float32))


class PatchEmbedding(nn.Cell):
    """The convolutional stem: 3x3 convolutions of stride 2 until one token stands for each patch."""

    def __init__(self, patch_size, in_channels, dim, exact_gelu):
        super().__init__()
        halvings = patch_size.bit_length() - 1
        widths = [in_channels] + [dim >> i for i in reversed(range(halvings))]
        layers = []
        for width_in, width_out in pairwise(widths):
            conv = nn.Conv2d(width_in, width_out, 3, stride=2, pad_mode="pad", padding=1, has_bias=False)
            layers += [nn.SequentialCell([conv, nn.BatchNorm2d(width_out)]), GELU(exact_gelu)]
        self.proj = nn.SequentialCell(layers[:-1])

    def construct(self, x):
        return self.proj(x)  # (B, C, H, W), H and W in tokens


class PositionalEncoding(nn.Cell):
    """Fourier features of the token's place, projected to the model's width: any grid fits."""

    def __init__(self, dim):
        super().__init__()
        self.token_projection = nn.Conv2d(2 * POSITION_CHANNELS, dim, 1, has_bias=True)

    def construct(self, height, width):
        return self.token_projection(fourier_positions(height, width))  # (1, C, H, W)


class CrossCovarianceAttention(nn.Cell):
    """Section 3.2: each channel attends to the channels of its head, at a cost linear in the number of tokens."""

    def __init__(self, dim, num_heads, normalize_qk):
        super().__init__()
        self.num_heads = num_heads
        self.normalize_qk = normalize_qk
        self.temperature = Parameter(Tensor(np.ones((num_heads, 1, 1)), mindspore.float32))
        self.qkv = dense(dim, 3 * dim)
        self.proj = dense(dim, dim)

    def construct(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).transpose((0, 2, 1))  # (B, 3C, N)
        qkv = qkv.reshape((b, 3 * self.num_heads, c // self.num_heads, n))  # (B, 3h, d, N)
        q, k, v = ops.Split(axis=1, output_num=3)(qkv)  # (B, h, d, N); slices are slower on the CPU
        if self.normalize_qk:
            q, k = l2_normalize(q), l2_normalize(k)
        attention = ops.BatchMatMul(transpose_b=True)(q, k) * self.temperature  # (B, h, d, d)
        attention = ops.softmax(attention, axis=-1)
        x = ops.BatchMatMul()(attention, v)  # (B, h, d, N)
        x = x.reshape((b, c, n)).transpose((0, 2, 1))  # (B, N, C)
        return self.proj(x)


class LocalPatchInteraction(nn.Cell):
    """Section 3.3: two depth-wise 3x3 convolutions let neighbouring tokens exchange what attention keeps apart."""

    def __init__(self, dim, exact_gelu):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, pad_mode="pad", padding=1, group=dim, has_bias=True)
        self.act = GELU(exact_gelu)
        self.bn = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, pad_mode="pad", padding=1, group=dim, has_bias=True)
        self.on_cpu = mindspore.get_context("device_target") == "CPU"

    def construct(self, x, height, width):
        b, n, c = x.shape
        if self.on_cpu and n <= SMALL_GRID:
            # Each channel's convolution is a product with a matrix of N x N, many times faster than the CPU's kernel.
            window = neighbours(height, width)
            x = self.act(self.convolve_small(self.conv1, x.transpose((2, 0, 1)), window))  # (C, B, N)
            x = self.bn(x.reshape((1, c, b, n))).reshape((c, b, n))
            return self.convolve_small(self.conv2, x, window).transpose((1, 2, 0))  # (B, N, C)
        x = x.transpose((0, 2, 1)).reshape((b, c, height, width))  # (B, C, H, W)
        x = self.conv2(self.bn(self.act(self.conv1(x))))
        return x.reshape((b, c, n)).transpose((0, 2, 1))  # (B, N, C)

    def convolve_small(self, conv, x, window):
        c, _, n = x.shape  # (C, B, N)
        weight, window = conv.weight.astype(x.dtype), window.astype(x.dtype)  # of a network set to another precision
        matrices = ops.MatMul()(weight.reshape((c, 9)), window).reshape((c, n, n))
        return ops.BatchMatMul()(x, matrices) + conv.bias.astype(x.dtype).reshape((c, 1, 1))


class FeedForward(nn.Cell):
    """Two linear layers, four times as wide between them."""

    def __init__(self, dim, exact_gelu):
        super().__init__()
        self.fc1 = dense(dim, 4 * dim)
        self.act = GELU(exact_gelu)
        self.fc2 = dense(4 * dim, dim)

    def construct(self, x):
        return self.fc2(self.act(self.fc1(x)))


class XCABlock(nn.Cell):
    """Cross-covariance attention, local patch interaction and feed-forward, each a scaled residual."""

    def __init__(self, dim, num_heads, eta, normalize_qk, exact_gelu):
        super().__init__()
        self.gamma1 = layer_scale(dim, eta)
        self.gamma2 = layer_scale(dim, eta)
        self.gamma3 = layer_scale(dim, eta)
        self.norm1 = LayerNorm(dim)
        self.attn = CrossCovarianceAttention(dim, num_heads, normalize_qk)
        self.norm2 = LayerNorm(dim)
        self.mlp = FeedForward(dim, exact_gelu)
        self.norm3 = LayerNorm(dim)
        self.local_mp = LocalPatchInteraction(dim, exact_gelu)

    def construct(self, x, height, width, keep=None):
        if keep is None:
            x = x + self.gamma1 * self.attn(self.norm1(x))
            x = x + self.gamma3 * self.local_mp(self.norm3(x), height, width)
            return x + self.gamma2 * self.mlp(self.norm2(x))
        keep = keep.astype(x.dtype).reshape((3, -1, 1, 1))  # (3, B, 1, 1)
        x = x + keep[0] * self.gamma1 * self.attn(self.norm1(x))
        x = x + keep[1] * self.gamma3 * self.local_mp(self.norm3(x), height, width)
        return x + keep[2] * self.gamma2 * self.mlp(self.norm2(x))


class ClassAttention(nn.Cell):
    """The class token, and it alone, attends to every token."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = dense(dim, 3 * dim)
        self.proj = dense(dim, dim)
        self.on_cpu = mindspore.get_context("device_target") == "CPU"

    def construct(self, x):
        b, n, c = x.shape
        d = c // self.num_heads
        if self.on_cpu:  # where slices are slow
            q, k, v = ops.Split(axis=2, output_num=3)(self.qkv(x))  # (B, N, C)
            q = q[:, 0].reshape((b, self.num_heads, 1, d))  # (B, h, 1, d)
            k = k.reshape((b, n, self.num_heads, d)).transpose((0, 2, 1, 3))  # (B, h, N, d)
            v = v.reshape((b, n, self.num_heads, d)).transpose((0, 2, 1, 3))  # (B, h, N, d)
        else:
            qkv = self.qkv(x).reshape((b, n, 3, self.num_heads, d))  # (B, N, 3, h, d)
            q = qkv[:, 0, 0].expand_dims(2)  # (B, h, 1, d)
            k = qkv[:, :, 1].transpose((0, 2, 1, 3))  # (B, h, N, d)
            v = qkv[:, :, 2].transpose((0, 2, 1, 3))  # (B, h, N, d)
        attention = ops.BatchMatMul(transpose_b=True)(q, k) * d**-0.5  # (B, h, 1, N)
        attention = ops.softmax(attention, axis=-1)
        return self.proj(ops.BatchMatMul()(attention, v).reshape((b, 1, c)))  # (B, 1, C)


class ClassAttentionBlock(nn.Cell):
    """Class attention and feed-forward for the class token; the other tokens get the normalised residual alone."""

    def __init__(self, dim, num_heads, eta, exact_gelu):
        super().__init__()
        self.gamma1 = layer_scale(dim, eta)
        self.gamma2 = layer_scale(dim, eta)
        self.norm1 = LayerNorm(dim)
        self.attn = ClassAttention(dim, num_heads)
        self.norm2 = LayerNorm(dim)
        self.mlp = FeedForward(dim, exact_gelu)

    def construct(self, x):
        y = self.norm1(x)
        x = x + self.gamma1 * ops.concat((self.attn(y), y[:, 1:]), 1)  # (B, 1 + N, C)
        x = self.norm2(x)
        return x + ops.concat((self.gamma2 * self.mlp(x[:, :1]), x[:, 1:]), 1)


class XCiT(nn.Cell):
    """Cross-covariance image transformer.

    Args:
        in_channels: channels of the image, 1 to 4.
        num_classes: number of logits.
        patch_size: side of a patch in pixels, 8 or 16.
        dim: width C of the tokens.
        depth: number of cross-covariance blocks.
        num_heads: heads of each attention; divides ``dim``.
        class_depth: number of class-attention blocks.
        eta: initial value of the layer scales.
        normalize_qk: L2-normalise queries and keys, as the paper and its code do.
        exact_gelu: GELU by the error function, as the paper's code has it, instead of its tanh approximation.

    Attributes:
        residual_branches: how many branches ``keep`` is for, three in each of the cross-covariance blocks.

    Inputs:
        images of shape (B, in_channels, H, W), float32; H and W multiples of ``patch_size``.
        keep: factors of the residual branches, of shape (residual_branches, B), or None. Training with stochastic depth
            (G. Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382) at rate p draws them, 0 or
            1 / (1 - p), outside the network, so that a run that goes on after a stop draws the same.

    Outputs:
        logits of shape (B, num_classes).

    Raises:
        ValueError: an argument or the shape of the images is not one of these.
    """

    def __init__(
        self,
        in_channels=3,
        num_classes=1000,
        patch_size=16,
        dim=192,
        depth=12,
        num_heads=4,
        class_depth=2,
        eta=1.0,
        normalize_qk=False,
        exact_gelu=False,
    ):
        super().__init__()
        counts = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "patch_size": patch_size,
            "dim": dim,
            "depth": depth,
            "num_heads": num_heads,
            "class_depth": class_depth,
        }
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"XCiT expects {name} to be an integer of at least 1, found {value!r}")
        if in_channels > 4:
            raise ValueError(f"XCiT expects in_channels from 1 to 4, found {in_channels}")
        if patch_size not in (8, 16):
            raise ValueError(f"XCiT expects patch_size 8 or 16, found {patch_size}")
        if dim % num_heads or dim % patch_size:
            raise ValueError(
                f"XCiT expects dim to be a multiple of num_heads ({num_heads}) and patch_size ({patch_size}), "
                f"found {dim}"
            )
        self.in_channels = in_channels
        self.patch_size = patch_size
        self.residual_branches = 3 * depth
        self.cls_token = Parameter(initializer(TruncatedNormal(0.02), (1, 1, dim), mindspore.float32))
        self.patch_embed = PatchEmbedding(patch_size, in_channels, dim, exact_gelu)
        self.blocks = nn.CellList([XCABlock(dim, num_heads, eta, normalize_qk, exact_gelu) for _ in range(depth)])
        self.cls_attn_blocks = nn.CellList(
            [ClassAttentionBlock(dim, num_heads, eta, exact_gelu) for _ in range(class_depth)]
        )
        self.norm = LayerNorm(dim)
        self.head = dense(dim, num_classes)
        self.pos_embeder = PositionalEncoding(dim)

    def construct(self, images, keep=None):
        height, width = token_grid(images.shape, self.in_channels, self.patch_size)
        # Positions come first: a graph is inferred in this order, and the stem would refuse a bad shape less clearly.
        x = self.pos_embeder(height, width) + self.patch_embed(images)  # (B, C, H, W)
        b, c = x.shape[:2]
        x = x.reshape((b, c, height * width)).transpose((0, 2, 1))  # (B, N, C)
        for i, block in enumerate(self.blocks):
            x = block(x, height, width, None if keep is None else keep[3 * i : 3 * i + 3])
        x = ops.concat((ops.tile(self.cls_token, (b, 1, 1)), x), 1)  # (B, 1 + N, C)
        for block in self.cls_attn_blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))
