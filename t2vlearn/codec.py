"""The frame codec: a small CNN that turns a frame into a latent grid and back.

z = E(x), x_hat = D(z). Three things make z easy to generate (Rombach et al. 2022, "High-Resolution Image Synthesis with
Latent Diffusion Models", section 3.1, regularise with a KL or VQ term instead):

* unit variance per channel and noise on z while training, so that the decoder forgives a generator's small errors;
* equivariance: a latent grid that is moved by a part of a cell must decode to the frame moved by as many pixels. Then
  a thing that moves smoothly has latents that move smoothly, and a denoiser has one look to learn in place of one for
  each sub-cell position (Kouzelis et al. 2025, "EQ-VAE", equation 5; Zhou et al. 2025, "Alias-Free Latent Diffusion
  Models", for shifts). On this world a denoiser learns to show 0.77 of the subjects in place of 0.60 in the same time
  (benchmarks/LOG.md);
* in a cell it is plain to see what is there, where somebody knows it and asks while the codec learns (`questions`).
  That triples the share of right subjects early in training (ibid.).
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

#: sigma of the noise on latents while the codec learns, in units of their standard deviation.
NOISE_LEVEL = 0.3


class ResidualConv(nn.Module):
    """x + Conv(silu(Conv(silu(x)))), the second convolution starting at zero, so that a block starts as the identity.

    Args:
        channels: of x.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h, w)."""
        return x + self.conv_out(F.silu(self.conv_in(F.silu(x))))


class _Total(torch.autograd.Function):
    """The sum over all processes, in each of them. So its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Total.forward(ctx, gradient)


class Normalise(nn.BatchNorm2d):
    """y = (x - m) / sqrt(v + eps) per channel, m and v of the whole batch: of all processes' parts while several train.

    Only without learned scale. `nn.SyncBatchNorm` is the same for GPUs; it does not run on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h, w)."""
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        x = x.float()
        own = x.new_full((1,), x.numel() / x.shape[1])
        total = _Total.apply(torch.cat([x.sum((0, 2, 3)), own]))
        mean, n = total[:-1] / total[-1], total[-1]
        centred = x - mean.view(-1, 1, 1)
        variance = _Total.apply(centred.square().sum((0, 2, 3))) / n
        assert self.momentum is not None  # a cumulative average is not asked for
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        return centred / (variance + self.eps).sqrt().view(-1, 1, 1)


class FrameCodec(nn.Module):
    """Frame <-> latent grid: (b, 3, s, s) in [-1, 1] <-> (b, c, s/down, s/down) with zero mean, unit variance per channel.

    Args:
        latent_channels: c.
        down: side of the square of pixels that one latent cell stands for, a power of two.
        width: channels of the hidden layers on the latent grid.

    Raises:
        ValueError: if `down` is not a power of two, at least 2.
    """

    def __init__(self, latent_channels: int = 16, down: int = 4, width: int = 96):
        super().__init__()
        if down < 2 or down & (down - 1):
            raise ValueError(f"down must be a power of two, at least 2, not {down}")
        self.down = down
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(down),  # (b, 3, s, s) -> (b, 3 down^2, s/down, s/down)
            nn.Conv2d(3 * down * down, width, 3, padding=1),
            ResidualConv(width),
            nn.Conv2d(width, latent_channels, 1),
        )
        # Zero mean and unit variance without learned scale: the running statistics are the latent statistics.
        self.normalise = Normalise(latent_channels, affine=False, momentum=0.01)
        # It takes these out again, the first one until the block behind it has left zero. They have nothing to learn, or
        # nothing that the block's own biases cannot, but rounding errors would move them.
        for bias in (self.encoder[1].bias, self.encoder[2].conv_out.bias, self.encoder[3].bias):
            bias.requires_grad_(False)
        layers: list[nn.Module] = [
            nn.Conv2d(latent_channels, width, 3, padding=1),
            ResidualConv(width),
            ResidualConv(width),
        ]
        for _ in range(int(math.log2(down)) - 1):  # (b, w, h, w) -> (b, w/2, 2h, 2w)
            layers += [nn.Conv2d(width, 2 * width, 1), nn.PixelShuffle(2), ResidualConv(width // 2)]
            width //= 2
        layers += [nn.SiLU(), nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2)]  # -> (b, 3, s, s)
        self.decoder = nn.Sequential(*layers)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (b, 3, s, s) or clips (b, 3, f, s, s) in [-1, 1] -> latents (b, c, h, w) or (b, c, f, h, w)."""
        if frames.dim() == 5:
            return _per_frame(self.encode, frames)
        return self.normalise(self.encoder(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """The way back: latents (b, c, h, w) or (b, c, f, h, w) -> frames in [-1, 1], or a little outside."""
        if latents.dim() == 5:
            return _per_frame(self.decode, latents)
        return self.decoder(latents)

    def loss(self, latents: Tensor, frames: Tensor, noise: Tensor, shift: Tensor) -> Tensor:
        """Mean of (1 + 4 kappa) |D(T E(x) + sigma noise) - T x|, kappa the contrast of each pixel's 3 x 3 neighbourhood in T x.

        T moves a picture: x by `shift` pixels, its latents by shift / down cells. Edges are few pixels but carry the
        shape: the contrast gives them their weight.

        Args:
            latents: E(x), (b, c, s/down, s/down).
            frames: x, (b, 3, s, s).
            noise: standard normal, (b, c, s/down, s/down).
            shift: pixels to the right and down, (b, 2); zero asks for the frame itself.
        """
        # T x and D(T E(x) + sigma noise)
        target = translate(frames, shift)
        restored = self.decode(translate(latents, shift / self.down) + NOISE_LEVEL * noise)
        local_max, local_min = F.max_pool2d(target, 3, 1, 1), -F.max_pool2d(-target, 3, 1, 1)
        contrast = (local_max - local_min).mean(dim=1, keepdim=True)
        # mean of (1 + 4 kappa) |D(...) - T x|
        return ((1 + 4 * contrast) * (restored - target).abs()).mean()


def translate(x: Tensor, shift: Tensor) -> Tensor:
    """y(p) = x(p - shift), bilinear between cells, with the border's values beyond it: (b, c, h, w), shift (b, 2) in cells.

    `shift` holds (right, down). Whole numbers move cells without mixing them.
    """
    affine = torch.eye(2, 3, device=x.device, dtype=x.dtype).repeat(len(x), 1, 1)
    affine[:, :, 2] = -2 * shift / torch.tensor([x.shape[3], x.shape[2]], device=x.device)  # the grid spans [-1, 1]
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _per_frame(function, clips: Tensor) -> Tensor:
    """Apply a function of (b, c, h, w) to each frame of (b, c, f, h, w)."""
    frames = clips.transpose(1, 2)  # b f c h w
    result = function(frames.flatten(0, 1))
    return result.unflatten(0, frames.shape[:2]).transpose(1, 2)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB = 10 log10(2^2 / MSE) of images (...) in [-1, 1], over all of x; inf for equal ones."""
    return 10 * torch.log10(4 / (x - y).square().mean())
