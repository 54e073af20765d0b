"""Attention: softmax(Q K^T / sqrt(d_k)) V, many heads of it, and the Transformer block around it.

Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1 and section 3.2. The blocks are pre-norm
(Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", figure 1b).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, written out (Vaswani et al. 2017, equation 1).

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V, where softmax_j(s) = exp(s_j) / sum_l exp(s_l) runs over the keys.

    Args:
        q: queries (..., n, d_k).
        k: keys (..., m, d_k).
        v: values (..., m, d_v).
        mask: bool, broadcastable to (..., n, m); True where a query may look. A query that may look nowhere gets zeros.

    Returns:
        The output (..., n, d_v) and the weights (..., n, m), whose rows sum to one (to zero where a query may look nowhere).
    """
    # S = Q K^T / sqrt(d_k)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., n, m)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    # A = softmax_j(S)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0)  # a row without any key is 0/0 above
    # A V
    return weights @ v, weights


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary position embedding: each pair (x_i, x_{i + d_k/2}) is turned by angles_i (Su et al. 2021, "RoFormer").

    (a, b) -> (a cos - b sin, a sin + b cos). A query turned by p w and a key turned by p' w meet in a product that
    depends on p - p' alone (ibid., equations 11 and 16; the paper pairs x_{2i} with x_{2i+1}: the same up to the order of
    channels): how far apart they are and in which direction, not where.

    Args:
        x: queries or keys (b, h, n, d_k).
        angles: position times frequency, (b, n, d_k / 2), or (1, n, d_k / 2) for all.

    Raises:
        ValueError: for an odd d_k.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"heads of width {x.shape[-1]} cannot be turned: choose dim a multiple of 2 num_heads")
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W_O with head_i = Attention(Q W_Q^i, K W_K^i, V W_V^i).

    Each W has a bias beside it. Self-attention where `context` is left out, cross-attention where it is given. Uses torch's
    fused kernel, which computes what `attention` writes out.

    Args:
        dim: width of input and output.
        num_heads: h; each head has d_k = dim / h.
        qk_norm: divide each head's queries and keys by their root mean square, with a learned gain
            (Henry et al. 2020, "Query-Key Normalization for Transformers"; with RMSNorm as in Esser et al. 2024).

    Raises:
        ValueError: if `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide dim={dim}")
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_kv = nn.Linear(dim, 2 * dim)
        self.to_out = nn.Linear(dim, dim)
        d_k = dim // num_heads
        self.norm_q = nn.RMSNorm(d_k, eps=1e-6) if qk_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(d_k, eps=1e-6) if qk_norm else nn.Identity()

    def project(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The heads' queries (b, h, n, d_k), keys and values (b, h, m, d_k)."""
        context = x if context is None else context
        q = self.to_q(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (b, n, d) -> (b, h, n, d_k)
        k, v = self.to_kv(context).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # 2 x (b, h, m, d_k)
        return self.norm_q(q), self.norm_k(k), v

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """(b, n, d), context (b, m, d), mask (b, m) bool with True for real keys -> (b, n, d).

        `angles` (b, n, d_k / 2) turn queries and keys of self-attention by their positions (`rotate`).
        """
        q, k, v = self.project(x, context)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        allowed = None if mask is None else mask[:, None, None, :]
        if k.shape[2] == 1 and allowed is None:
            # A softmax over one key is one. The kernel is slow for thousands of such (benchmarks/LOG.md). Queries and keys
            # still get their gradients, which are zero: several processes wait for every one.
            out = v + 0 * (q * k)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)  # (b, h, n, d_k)
        return self.to_out(out.transpose(1, 2).flatten(2))  # (b, n, d)


class FeedForward(nn.Sequential):
    """FFN(x) = W_2 gelu(W_1 x + b_1) + b_2, four times as wide inside.

    Vaswani et al. 2017, equation 2, with GELU, by its tanh approximation, for ReLU.

    Args:
        dim: width of x.
    """

    def __init__(self, dim: int):
        super().__init__(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))


class TransformerBlock(nn.Module):
    """x <- x + Attention(LN(x)); x <- x + FFN(LN(x)): the pre-norm encoder block.

    Args:
        dim: width of x.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, num_heads)
        self.norm_2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, angles: Tensor | None = None) -> Tensor:
        """(b, l, d), mask (b, l) bool with True for real tokens, angles of the positions (b, l, d_k / 2) -> (b, l, d)."""
        x = x + self.attention(self.norm_1(x), mask=mask, angles=angles)
        return x + self.feed_forward(self.norm_2(x))
