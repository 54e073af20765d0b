"""The space-time denoiser: convolutions inside each frame, a Transformer across frames, told each frame's noise level.

Key frames and whole clips are the same kind of thing to it: some frames at some clip times, each with a noise level.
Convolutions share what they learn over positions: a star is a star wherever it stands. The Transformer in the middle
decides what goes where and when. A shallow U-Net (Ho et al. 2020, appendix B) around a diffusion Transformer (Peebles & Xie
2023, "Scalable Diffusion Models with Transformers") with cross-attention to text (Rombach et al. 2022, "High-Resolution Image
Synthesis with Latent Diffusion Models", section 3.3).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from t2vlearn.attention import FeedForward, MultiHeadAttention
from t2vlearn.diffusion import Denoise, DiffusionModel
from t2vlearn.text import Text


def sinusoidal(x: Tensor, dim: int, max_period: float = 1000.0, scale: float = 1000.0) -> Tensor:
    """(cos(w_i s x), sin(w_i s x)) with w_i = max_period^(-i / (dim/2)): (...) in [0, 1] -> (..., dim), dim even.

    Vaswani et al. 2017, section 3.5; `scale` spreads [0, 1] over the periods.
    """
    frequencies = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=x.device) / (dim // 2))
    angles = scale * x.unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def space_time_angles(times: Tensor, side: int, d_k: int) -> Tensor:
    """Rotary angles of each patch: row, column and clip time, each times some frequencies.

    row 1.5 2^(-i/1.5) radians a patch, column alike, time 8 2^(-i) radians a clip, i = 0, 1, ...: three eighths of the
    d_k / 2 angles belong to the row, as many to the column, the rest to the time.

    Args:
        times: clip time of each frame (b, f).
        side: patches in a row.
        d_k: width of a head.

    Returns:
        (b, f side^2, d_k / 2).
    """
    n = d_k // 2 * 3 // 8
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    slower = 1.5 * 2 ** (-torch.arange(n) / 1.5)
    space = torch.cat([row.flatten()[:, None] * slower, column.flatten()[:, None] * slower], dim=1)  # (side^2, 2 n)
    space = space.to(times)
    time = times.unsqueeze(-1) * (8 * 0.5 ** torch.arange(d_k // 2 - 2 * n)).to(times)  # (b, f, .)
    space = space.expand(*times.shape, -1, -1)  # (b, f, side^2, .)
    return torch.cat([space, time.unsqueeze(2).expand(-1, -1, side * side, -1)], dim=-1).flatten(1, 2)


class DenoiserBlock(nn.Module):
    """Self-attention over all patches of all frames, cross-attention to the text where asked for, feed-forward.

    adaLN-zero (Peebles & Xie 2023, section 3.2): a frame's condition gives shift m, scale s and gate g of both sub-layers,
    h <- h + g * F((1 + s) LN(h) + m), with g = 0 at the start; between them, without a gate, h <- h + Attention(LN(h), text).

    Args:
        dim: width of h.
        num_heads: attention heads.
        reads_text: whether there is cross-attention.
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

    def forward(self, h: Tensor, condition: Tensor, text: Text, angles: Tensor | None = None) -> Tensor:
        """h (b, f, n, d), condition (b, f, 1, d), angles of the positions (b, f n, d_k / 2) -> (b, f, n, d)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition).chunk(6, dim=-1)
        frames = h.shape[1]
        # h <- h + g * Attention((1 + s) LN(h) + m)
        x = self.norm_1(h) * (1 + scale_1) + shift_1
        attended = self.self_attention(x.flatten(1, 2), angles=angles)  # (b, f n, d)
        h = h + gate_1 * attended.unflatten(1, (frames, -1))
        # h <- h + Attention(LN(h), text)
        if self.cross_attention is not None:
            read = self.cross_attention(self.norm_text(h).flatten(1, 2), text.tokens, text.mask)
            h = h + read.unflatten(1, (frames, -1))
        # h <- h + g * FFN((1 + s) LN(h) + m)
        return h + gate_2 * self.feed_forward(self.norm_2(h) * (1 + scale_2) + shift_2)


class FrameBlock(nn.Module):
    """h <- h + Conv(silu(GN(Conv(silu((1 + s) GN(h) + m))))) on each frame: the residual block of diffusion U-Nets.

    Shift m and scale s come from the frame's condition (Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image
    Synthesis", section 3.1, adaptive group normalisation; there it is the second normalisation that is adapted, here the
    first). The second convolution starts at zero.

    Args:
        width: channels of h.
        dim: width of the condition.
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        groups = max(width // 8, 1)
        self.norm_1, self.norm_2 = (nn.GroupNorm(groups, width, affine=False) for _ in range(2))
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.modulation = nn.Linear(dim, 2 * width)
        for parameter in [*self.modulation.parameters(), *self.conv_2.parameters()]:
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h (b f, c, h, w), condition (b f, d) -> (b f, c, h, w)."""
        shift, scale = self.modulation(condition)[..., None, None].chunk(2, dim=1)
        # h <- h + Conv(silu(GN(Conv(silu((1 + s) GN(h) + m)))))
        x = self.conv_1(F.silu(self.norm_1(h) * (1 + scale) + shift))
        return h + self.conv_2(F.silu(self.norm_2(x)))


class TimeAttention(nn.Module):
    """Each cell looks at the same cell in all frames: h <- h + Attention(LN(h) + W c), zero at the start, c the condition.

    Ho et al. 2022, "Video Diffusion Models", section 3: factorised space-time attention. The convolutions around it
    bring in the neighbouring cells, so a motion that is learnt at one place is known at all places.

    Args:
        width: channels of h.
        dim: width of the condition.
        num_heads: attention heads.
    """

    def __init__(self, width: int, dim: int, num_heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.time = nn.Linear(dim, width)
        self.attention = MultiHeadAttention(width, num_heads, qk_norm=True)
        for parameter in self.attention.to_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h (b f, c, h, w), condition (b, f, d) -> (b f, c, h, w)."""
        b, f = condition.shape[:2]
        cells = rearrange(h, "(b f) c h w -> b (h w) f c", f=f)
        # h <- h + Attention(LN(h) + W c)
        x = self.norm(cells) + self.time(condition).unsqueeze(1)
        read = self.attention(x.flatten(0, 1))
        return h + rearrange(read, "(b h w) f c -> (b f) c h w", b=b, h=h.shape[2])


class SpaceTimeDenoiser(nn.Module):
    """(x_t, noise levels, clip times, text) -> prediction, for any number of frames.

    h = Blocks(Conv(x)); p = Transformer(patches(h)); out = Conv(silu(GN(Blocks(Conv_1x1[h, unpatch(p)])))), all told the
    condition silu(MLP(code(tau)) + W_1 code(time) + W_2 pooled + known m), where m is learnt and `known` is 0 or 1.

    Args:
        channels: c of the latents.
        grid: their height and width, divisible by `patch`.
        dim: d, the width of the Transformer.
        depth: number of its blocks.
        num_heads: attention heads a block.
        patch: side of the square of latent cells that makes one token.
        width: channels of the convolutions.
        convs: convolutional blocks before the Transformer, and as many after it; attention over time follows every second one.
    """

    def __init__(
        self,
        channels: int = 8,
        grid: int = 8,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        patch: int = 2,
        width: int = 64,
        convs: int = 4,
    ):
        super().__init__()
        self.patch, self.grid, self.dim, self.num_heads = patch, grid, dim, num_heads
        self.time = nn.Linear(dim, dim)
        self.level = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.known = nn.Parameter(torch.zeros(dim))  # marks a given frame
        self.pooled = nn.Linear(dim, dim)
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.before = nn.ModuleList(FrameBlock(width, dim) for _ in range(convs))
        self.time_before = nn.ModuleList(TimeAttention(width, dim, num_heads) for _ in range(convs // 2))
        self.time_after = nn.ModuleList(TimeAttention(width, dim, num_heads) for _ in range(convs // 2))
        self.patch_in = nn.Linear(width * patch * patch, dim)
        self.position = nn.Parameter(torch.randn((grid // patch) ** 2, dim) * 0.2)
        # Every other block reads the text.
        self.blocks = nn.ModuleList(DenoiserBlock(dim, num_heads, reads_text=i % 2 == 0) for i in range(depth))
        self.norm_patch = nn.LayerNorm(dim)
        self.patch_out = nn.Linear(dim, width * patch * patch)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.after = nn.ModuleList(FrameBlock(width, dim) for _ in range(convs))
        self.norm_out = nn.GroupNorm(max(width // 8, 1), width)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def at(self, times: Tensor) -> Tensor:
        """What is known of frames at these clip times: (b, f) -> (b, f, d)."""
        return self.time(sinusoidal(times, self.dim, max_period=100.0, scale=50.0))

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
        p, frames, side = self.patch, x.shape[2], self.grid // self.patch
        time = self.at(times)  # (b, f, d)
        condition = self.level(sinusoidal(tau, self.dim)) + time + self.pooled(text.pooled).unsqueeze(1)  # (b, f, d)
        if known is not None:
            condition = condition + known.unsqueeze(-1).to(condition.dtype) * self.known
        condition = F.silu(condition)

        h = self.conv_in(rearrange(x, "b c f h w -> (b f) c h w"))  # (b f, w, h, w)
        for i, block in enumerate(self.before):
            h = block(h, condition.flatten(0, 1))
            if i % 2:
                h = self.time_before[i // 2](h, condition)
        tokens = self.patch_in(rearrange(h, "(b f) c (h p) (w q) -> b f (h w) (c p q)", f=frames, p=p, q=p))
        tokens = tokens + self.position + time.unsqueeze(2)  # (b, f, n, d)
        angles = space_time_angles(times, side, self.dim // self.num_heads)
        for block in self.blocks:
            tokens = block(tokens, condition.unsqueeze(2), text, angles)
        seen = self.patch_out(self.norm_patch(tokens))
        seen = rearrange(seen, "b f (h w) (c p q) -> (b f) c (h p) (w q)", h=side, w=side, p=p, q=p)
        h = self.join(torch.cat([h, seen], dim=1))
        for i, block in enumerate(self.after):
            h = block(h, condition.flatten(0, 1))
            if i % 2:
                h = self.time_after[i // 2](h, condition)
        out = self.conv_out(F.silu(self.norm_out(h)))
        return rearrange(out, "(b f) c h w -> b c f h w", f=frames)


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
    """One noised look at clean latents: x_t = a x_0 + b epsilon, then E w |prediction - target|^2 where not known.

    Args:
        denoiser: the network.
        diffusion: the process, which says a, b, w and the target.
        latents: x_0 (b, c, f, h, w).
        times: clip time of each frame (b, f) in [0, 1].
        text: the encoded captions.
        known: bool (b, f): frames that are given; they stay clean and do not count.
        tau: each frame's noise level (b, f) or one for all (b, 1), in (0, 1].
        noise: epsilon, standard normal, as `latents`.
    """
    levels = torch.where(known, 0.0, tau)  # at level 0 a = 1 and b = 0: a given frame stays as it is
    x_t = diffusion.add_noise(latents, noise, levels)
    prediction = denoiser(x_t, levels, times, text, known)
    return diffusion.loss(prediction, latents, noise, levels, known)


def guided(denoiser: SpaceTimeDenoiser, times: Tensor, text: Text, null: Text, scale: float, known: Tensor) -> Denoise:
    """Classifier-free guidance: prediction = null + s (text - null) (Ho & Salimans 2022, equation 6, with s = 1 + w).

    Scale 1 is the conditional model itself and costs half. Both halves run as one batch.

    Args:
        denoiser: the network.
        times: clip time of each frame (b, f).
        text, null: the captions and what to move away from, batches of b.
        scale: s.
        known: bool (b, f), frames that are given.

    Returns:
        (x_t, tau) -> the guided prediction, for `DiffusionModel.sample`.
    """

    def denoise(x: Tensor, tau: Tensor) -> Tensor:
        if scale == 1:
            return denoiser(x, tau, times, text, known)
        pair = Text(*(torch.cat([t, n]) for t, n in zip(text, null, strict=True)))
        twice = [torch.cat([value, value]) for value in (x, tau, times, known)]
        conditional, unconditional = denoiser(twice[0], twice[1], twice[2], pair, twice[3]).chunk(2)
        # null + s (text - null)
        return unconditional + scale * (conditional - unconditional)

    return denoise
