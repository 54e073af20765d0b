"""The space-time denoiser: one Transformer over the patches of several frames, told each frame's noise level.

Key frames and whole clips are the same kind of thing to it: some frames at some clip times, each with a noise level.
A diffusion Transformer (Peebles & Xie 2023, "Scalable Diffusion Models with Transformers") with cross-attention to text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from t2vlearn.attention import FeedForward, MultiHeadAttention
from t2vlearn.diffusion import DiffusionModel, expand


class Text(NamedTuple):
    """An encoded caption batch: tokens (b, l, d), mask (b, l) with True for real tokens, pooled (b, d)."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


def sinusoidal(x: Tensor, dim: int, max_period: float = 1000.0, scale: float = 1000.0) -> Tensor:
    """(cos(w_i s x), sin(w_i s x)) with w_i = max_period^(-i / (dim/2)): (...) in [0, 1] -> (..., dim).

    Vaswani et al. 2017, section 3.5; `scale` spreads [0, 1] over the periods.
    """
    frequencies = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=x.device) / (dim // 2))
    angles = scale * x.unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class DenoiserBlock(nn.Module):
    """Self-attention over all patches of all frames, cross-attention to the text where asked for, feed-forward.

    adaLN-zero (Peebles & Xie 2023, section 3.2): a frame's condition gives shift, scale and gate of both sub-layers,
    h <- h + g * F((1 + s) LN(h) + t), with g = 0 at the start.
    """

    def __init__(self, dim: int, num_heads: int, reads_text: bool):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.self_attention = MultiHeadAttention(dim, num_heads, qk_norm=True)
        self.norm_text = nn.LayerNorm(dim) if reads_text else nn.Identity()
        self.cross_attention = MultiHeadAttention(dim, num_heads, qk_norm=True) if reads_text else None
        self.norm_2 = nn.LayerNorm(dim, elementwise_affine=False)
        self.feed_forward = FeedForward(dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        for layer in [self.modulation, *([self.cross_attention.to_out] if reads_text else [])]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, condition: Tensor, text: Text) -> Tensor:
        """h (b, f, n, d), condition (b, f, 1, d) -> (b, f, n, d)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition).chunk(6, dim=-1)
        frames = h.shape[1]
        x = self.norm_1(h) * (1 + scale_1) + shift_1
        attended = self.self_attention(x.flatten(1, 2))  # (b, f n, d)
        h = h + gate_1 * attended.unflatten(1, (frames, -1))
        if self.cross_attention is not None:
            read = self.cross_attention(self.norm_text(h).flatten(1, 2), text.tokens, text.mask)
            h = h + read.unflatten(1, (frames, -1))
        return h + gate_2 * self.feed_forward(self.norm_2(h) * (1 + scale_2) + shift_2)


class SpaceTimeDenoiser(nn.Module):
    """(x_t, noise levels, clip times, text) -> prediction, for any number of frames.

    Args:
        channels: c of the latents.
        grid: their height and width.
        dim: d, the width.
        depth: number of blocks.
        num_heads: attention heads a block.
        patch: side of the square of latent cells that makes one token.
    """

    def __init__(
        self, channels: int = 16, grid: int = 8, dim: int = 128, depth: int = 6, num_heads: int = 4, patch: int = 2
    ):
        super().__init__()
        self.patch, self.grid, self.dim = patch, grid, dim
        self.patch_in = nn.Linear(channels * patch * patch, dim)
        self.position = nn.Parameter(torch.randn((grid // patch) ** 2, dim) * 0.2)
        self.time = nn.Linear(dim, dim)
        self.level = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.known = nn.Parameter(torch.zeros(dim))  # marks a given frame
        self.pooled = nn.Linear(dim, dim)
        # Every other block reads the text.
        self.blocks = nn.ModuleList(DenoiserBlock(dim, num_heads, reads_text=i % 2 == 0) for i in range(depth))
        self.norm_out = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation_out = nn.Linear(dim, 2 * dim)
        self.patch_out = nn.Linear(dim, channels * patch * patch)
        for layer in (self.modulation_out, self.patch_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, tau: Tensor, times: Tensor, text: Text, known: Tensor | None = None) -> Tensor:
        """Predict for every frame at once.

        Args:
            x: noised latents (b, c, f, h, w).
            tau: noise level of each frame (b, f), 0 clean to 1 noise.
            times: clip time of each frame (b, f), 0 first to 1 last.
            text: the encoded captions.
            known: bool (b, f), frames that are given.

        Returns:
            The prediction (b, c, f, h, w); what it means is the `DiffusionModel`'s affair.
        """
        p = self.patch
        h = self.patch_in(rearrange(x, "b c f (h p) (w q) -> b f (h w) (c p q)", p=p, q=p))  # (b, f, n, d)
        time = self.time(sinusoidal(times, self.dim, max_period=100.0, scale=50.0))  # (b, f, d)
        h = h + self.position + time.unsqueeze(2)
        condition = self.level(sinusoidal(tau, self.dim)) + time + self.pooled(text.pooled).unsqueeze(1)  # (b, f, d)
        if known is not None:
            condition = condition + known.unsqueeze(-1).to(condition.dtype) * self.known
        condition = nn.functional.silu(condition).unsqueeze(2)  # (b, f, 1, d)
        for block in self.blocks:
            h = block(h, condition, text)
        shift, scale = self.modulation_out(condition).chunk(2, dim=-1)
        out = self.patch_out(self.norm_out(h) * (1 + scale) + shift)
        side = self.grid // p
        return rearrange(out, "b f (h w) (c p q) -> b c f (h p) (w q)", h=side, w=side, p=p, q=p)


def training_loss(
    denoiser: SpaceTimeDenoiser,
    diffusion: DiffusionModel,
    latents: Tensor,
    times: Tensor,
    text: Text,
    known: Tensor,
    tau: Tensor,
    noise: Tensor,
) -> Tensor:
    """One noised look at clean latents (b, c, f, h, w): E w |prediction - target|^2 over the frames that are not given.

    `tau` (b,) is one level a clip; given frames `known` (b, f) stay clean.
    """
    levels = torch.where(known, 0.0, tau.unsqueeze(1))
    x_t = torch.where(expand(known, latents), latents, diffusion.add_noise(latents, noise, levels))
    prediction = denoiser(x_t, levels, times, text, known)
    return diffusion.loss(prediction, latents, noise, levels, known)


def guided(denoiser: SpaceTimeDenoiser, times: Tensor, text: Text, null: Text, scale: float, known: Tensor):
    """Classifier-free guidance: prediction = null + s (text - null) (Ho & Salimans 2022, equation 6, with s = 1 + w).

    Scale 1 is the conditional model itself and costs half. Both halves run as one batch.
    """

    def denoise(x: Tensor, tau: Tensor) -> Tensor:
        if scale == 1:
            return denoiser(x, tau, times, text, known)
        pair = Text(*(torch.cat([t, n]) for t, n in zip(text, null, strict=True)))
        twice = [torch.cat([value, value]) for value in (x, tau, times, known)]
        conditional, unconditional = denoiser(twice[0], twice[1], twice[2], pair, twice[3]).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return denoise
