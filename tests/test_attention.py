"""Attention against torch's kernel and modules, a loop over numbers, and what must hold of it whatever the weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from t2vlearn.attention import FeedForward, MultiHeadAttention, TransformerBlock, attention, rotate
from t2vlearn.denoiser import SpaceTimeDenoiser
from t2vlearn.text import TextEncoder

CLOSE = {"atol": 1e-12, "rtol": 1e-12}


@pytest.fixture(autouse=True)
def double():
    """Weights and numbers in float64, the same each time."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def qkv(n=5, m=7, d_k=4, d_v=6):
    return tuple(torch.randn(2, 3, *shape, requires_grad=True) for shape in ((n, d_k), (m, d_k), (m, d_v)))


def padding(batch=2, length=7, real=4):
    """(b, l): the first caption is full, the others are padded."""
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[1:, real:] = False
    return mask


# ------------------------------------------------------------------ the formula


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["64", "32"])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_and_gradients_are_those_of_torchs_kernel(masked, dtype, close):
    q, k, v = (t.detach().to(dtype).requires_grad_() for t in qkv())
    mask = (torch.rand(2, 1, 5, 7) < 0.6) | (torch.arange(7) == 0) if masked else None
    ours, theirs = attention(q, k, v, mask)[0], F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs, atol=close, rtol=close)
    direction = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, (q, k, v), direction), torch.autograd.grad(theirs, (q, k, v), direction)):
        torch.testing.assert_close(a, b, atol=close, rtol=close)


def test_it_is_the_sum_that_the_book_writes():
    """A loop over queries, keys and channels."""
    q, k, v = (t.detach()[0, 0].numpy() for t in qkv())
    out = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        exp = [math.exp(sum(a * b for a, b in zip(q[i], k[j])) / math.sqrt(q.shape[1])) for j in range(len(k))]
        for c in range(v.shape[1]):
            out[i, c] = sum(exp[j] / sum(exp) * v[j, c] for j in range(len(k)))
    np.testing.assert_allclose(attention(*(torch.tensor(t) for t in (q, k, v)))[0], out, atol=1e-12)


def test_rows_of_the_weights_sum_to_one():
    q, k, v = qkv()
    mask = (torch.rand(5, 7) < 0.5) | (torch.arange(7) == 3)
    for weights in (attention(q, k, v)[1], attention(q, k, v, mask)[1]):
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5), **CLOSE)
        assert (weights >= 0).all()
    assert (attention(q, k, v, mask)[1][..., ~mask] == 0).all()


def test_a_query_that_may_look_nowhere_gets_zeros_and_finite_gradients():
    q, k, v = qkv()
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[2] = False
    out, weights = attention(q, k, v, mask)
    assert (out[:, :, 2] == 0).all() and (weights[:, :, 2] == 0).all()
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), **CLOSE)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), (q, k, v)))


def test_the_article_as_printed_gives_every_query_the_plain_sum_of_the_values():
    """Printed: exp(Q K^T / sqrt(d_k)) / exp(Q K^T / sqrt(d_k)) V, without the sum over keys below the bar."""
    q, k, v = qkv()
    scores = torch.exp(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    printed = scores / scores @ v
    torch.testing.assert_close(printed, v.sum(-2, keepdim=True).expand_as(printed), **CLOSE)
    repaired = scores / scores.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(repaired, attention(q, k, v)[0], **CLOSE)
    assert (repaired - printed).abs().mean() > 1


# ------------------------------------------------------------------ many heads


def copy_of_multihead_attention(theirs):
    ours = MultiHeadAttention(theirs.embed_dim, theirs.num_heads)
    weight, bias, d = theirs.in_proj_weight, theirs.in_proj_bias, theirs.embed_dim
    state = {"to_q.weight": weight[:d], "to_q.bias": bias[:d], "to_kv.weight": weight[d:], "to_kv.bias": bias[d:]}
    ours.load_state_dict(state | {f"to_out.{k}": v for k, v in theirs.out_proj.state_dict().items()})
    return ours


def multihead(dim=24, heads=4):
    theirs = nn.MultiheadAttention(dim, heads, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    return theirs, copy_of_multihead_attention(theirs)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_same_as_torchs_multihead_attention(cross, masked):
    theirs, ours = multihead()
    x = torch.randn(2, 5 if cross else 7, 24)
    context = torch.randn(2, 7, 24) if cross else x
    mask = padding() if masked else None
    expected = theirs(x, context, context, key_padding_mask=None if mask is None else ~mask, need_weights=False)[0]
    torch.testing.assert_close(ours(x, context if cross else None, mask), expected, **CLOSE)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_path_is_the_written_out_one(qk_norm, masked):
    layer, x, mask = MultiHeadAttention(24, 4, qk_norm), torch.randn(2, 7, 24), padding() if masked else None
    out, weights = attention(*layer.project(x), None if mask is None else mask[:, None, None])
    assert weights.shape == (2, 4, 7, 7)
    torch.testing.assert_close(layer(x, mask=mask), layer.to_out(out.transpose(1, 2).flatten(2)), **CLOSE)


@pytest.mark.parametrize("n", [1, 5])
def test_one_key_is_its_value_and_every_weight_has_a_gradient(n):
    layer, x, context = MultiHeadAttention(24, 4, qk_norm=True), torch.randn(2, n, 24), torch.randn(2, 1, 24)
    out, weights = attention(*layer.project(x, context))
    assert (weights == 1).all()
    got = layer(x, context)
    torch.testing.assert_close(got, layer.to_out(out.transpose(1, 2).flatten(2)), **CLOSE)
    got.square().sum().backward()
    of_queries = [layer.to_q.weight.grad, layer.norm_q.weight.grad, layer.norm_k.weight.grad]
    assert all((gradient == 0).all() for gradient in of_queries)
    assert layer.to_kv.weight.grad[24:].abs().sum() > 0


class Calls(TorchFunctionMode):
    """Every torch function that is called, by name."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.seen.append(function)
        return function(*args, **(kwargs or {}))


def test_layer_text_encoder_and_denoiser_attend_by_torchs_fused_kernel_alone():
    """As many calls as attention layers, and no softmax beside them."""
    layer, encoder = MultiHeadAttention(24, 4), TextEncoder(dim=24, depth=2, num_heads=2)
    denoiser = SpaceTimeDenoiser(4, 8, dim=24, depth=3, num_heads=2, width=16, convs=2)
    x, level, text = torch.randn(1, 4, 3, 8, 8), torch.rand(1, 3), encoder.encode(["a red star"])
    runs = [
        (layer, 1, lambda: layer(torch.randn(2, 7, 24))),
        (encoder, 2, lambda: encoder.encode(["a red star"])),
        (denoiser, 3 + 2 + 2, lambda: denoiser(x, level, level, text)),  # blocks, text in every other one, time
    ]
    for network, layers, run in runs:
        assert sum(isinstance(module, MultiHeadAttention) for module in network.modules()) == layers
        with Calls() as calls:
            run()
        assert calls.seen.count(F.scaled_dot_product_attention) == layers
        assert not {F.softmax, torch.softmax, torch.Tensor.softmax} & set(calls.seen)


def test_qk_norm_divides_each_heads_queries_and_keys_by_their_root_mean_square():
    layer, x = MultiHeadAttention(24, 4, qk_norm=True), torch.randn(2, 7, 24)
    nn.init.normal_(layer.norm_q.weight)
    q, k, v = layer.project(x)
    for head in range(4):
        part = slice(6 * head, 6 * head + 6)
        for got, projected, gain in (
            (q, layer.to_q(x)[..., part], layer.norm_q.weight),
            (k, layer.to_kv(x)[..., :24][..., part], layer.norm_k.weight),
        ):
            rms = projected.square().mean(-1, keepdim=True).sqrt()
            torch.testing.assert_close(got[:, head], gain * projected / rms, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(v[:, head], layer.to_kv(x)[..., 24:][..., part], **CLOSE)
    # The length of the input no longer matters to where a query looks (but for the biases).
    for linear in (layer.to_q, layer.to_kv):
        nn.init.zeros_(linear.bias)
    once, much = (attention(*layer.project(scale * x))[1] for scale in (1, 1000))
    torch.testing.assert_close(once, much, atol=1e-4, rtol=1e-4)


def test_self_attention_is_permutation_equivariant_and_cross_attention_blind_to_the_keys_order():
    layer, x, context = MultiHeadAttention(24, 4), torch.randn(2, 7, 24), torch.randn(2, 6, 24)
    order, other = torch.randperm(7), torch.randperm(6)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], **CLOSE)
    torch.testing.assert_close(layer(x, context[:, other]), layer(x, context), **CLOSE)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="num_heads=5 does not divide dim=24"):
        MultiHeadAttention(24, 5)


# ------------------------------------------------------------------ rotary positions


def test_a_rotation_is_a_multiplication_by_a_complex_number():
    x, angles = torch.randn(2, 3, 5, 8), torch.randn(2, 5, 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.exp(1j * angles[:, None])
    torch.testing.assert_close(rotate(x, angles), torch.cat([turned.real, turned.imag], dim=-1), **CLOSE)
    torch.testing.assert_close(rotate(rotate(x, angles), -angles), x, **CLOSE)
    assert torch.equal(rotate(x, torch.zeros_like(angles)), x)
    with pytest.raises(ValueError, match="width 5"):
        rotate(x[..., :5], angles)


def test_what_a_rotated_query_finds_depends_on_the_distance_alone():
    """The same content everywhere: the weights then are a function of position - position', and moving all changes nothing."""
    layer, frequencies = MultiHeadAttention(24, 4), torch.tensor([1.0, 0.5, 0.1])
    x = torch.randn(1, 1, 24).expand(1, 6, 24)

    def weights(positions):
        q, k, v = layer.project(x)
        angles = positions[None, :, None] * frequencies
        return attention(rotate(q, angles), rotate(k, angles), v)[0], (rotate(q, angles) @ rotate(k, angles).mT)[0, 0]

    positions = torch.arange(6.0)
    (out, scores), (moved_out, moved) = weights(positions), weights(positions + 7.3)
    torch.testing.assert_close(scores, moved, **CLOSE)
    torch.testing.assert_close(out, moved_out, **CLOSE)
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], **CLOSE)  # a Toeplitz matrix
    assert (scores[0] - scores[0, 0]).abs().max() > 1e-2
    q, k, v = layer.project(x)
    angles = positions[None, :, None] * frequencies
    expected = layer.to_out(attention(rotate(q, angles), rotate(k, angles), v)[0].transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, angles=angles), expected, **CLOSE)


# ------------------------------------------------------------------ the block


@pytest.mark.parametrize("masked", [False, True])
def test_the_block_is_torchs_pre_norm_encoder_layer(masked):
    theirs = nn.TransformerEncoderLayer(
        24, 4, 96, dropout=0.0, activation=lambda x: F.gelu(x, approximate="tanh"), batch_first=True, norm_first=True
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = TransformerBlock(24, 4)
    ours.attention = copy_of_multihead_attention(theirs.self_attn)
    for part, source in (
        (ours.norm_1, theirs.norm1),
        (ours.norm_2, theirs.norm2),
        (ours.feed_forward[0], theirs.linear1),
        (ours.feed_forward[2], theirs.linear2),
    ):
        part.load_state_dict(source.state_dict())
    x, mask = torch.randn(2, 7, 24), padding() if masked else None
    expected = theirs(x, src_key_padding_mask=None if mask is None else ~mask)
    torch.testing.assert_close(ours(x, mask), expected, **CLOSE)


def test_the_feed_forward_layer_is_its_formula():
    layer, x = FeedForward(8), torch.randn(3, 8)
    h = x @ layer[0].weight.T + layer[0].bias
    gelu = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    assert h.shape == (3, 32)
    torch.testing.assert_close(layer(x), gelu @ layer[2].weight.T + layer[2].bias, **CLOSE)


def test_padding_changes_nothing():
    block, x = TransformerBlock(24, 4), torch.randn(2, 7, 24)
    mask = padding(real=4)
    changed = x.clone()
    changed[1, 4:] = 100 * torch.randn(3, 24)
    torch.testing.assert_close(block(changed, mask)[1, :4], block(x, mask)[1, :4], **CLOSE)
    torch.testing.assert_close(block(x, mask)[1:, :4], block(x[1:, :4]), **CLOSE)
    assert (block(changed)[1, :4] - block(x)[1, :4]).abs().max() > 1e-3  # without the mask it would


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_layer_that_may_look_nowhere_gives_its_constant(dtype):
    layer, x = MultiHeadAttention(24, 4).to(dtype), torch.randn(2, 7, 24, dtype=dtype)
    out = layer(x, mask=torch.zeros(2, 7, dtype=torch.bool))
    torch.testing.assert_close(out, layer.to_out(torch.zeros(2, 7, 24, dtype=dtype)))
