"""The visual encoder: the article's second part, text -> key frames.

Its CNN (`FrameCodec`) turns a frame into a latent grid and back; its self-attention network draws K still images, one
per marked time step of the clip, by diffusion on those latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from t2vlearn.codec import FrameCodec
from t2vlearn.denoiser import SpaceTimeDenoiser, guided
from t2vlearn.diffusion import DiffusionModel
from t2vlearn.text import Text


class VisualEncoder(nn.Module):
    """Text -> key frames, and frames <-> latents.

    Args:
        codec: frames <-> latents.
        denoiser: the network that draws key frames.
        keyframe_times: clip times in [0, 1] of the K key frames.
    """

    def __init__(self, codec: FrameCodec, denoiser: SpaceTimeDenoiser, keyframe_times: list[float]):
        super().__init__()
        self.codec = codec
        self.denoiser = denoiser
        self.register_buffer("keyframe_times", torch.tensor(keyframe_times), persistent=False)

    def generate(
        self,
        diffusion: DiffusionModel,
        text: Text,
        null: Text,
        noise: Tensor,
        num_inference_steps: int,
        guidance_scale: float,
        known: Tensor | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Key frames for encoded captions, `first_then_rest` where nothing is known of them yet.

        Args:
            diffusion: the process that the denoiser was trained with.
            text, null: the captions and what guidance moves away from, batches of b.
            noise: (b, c, k, h, w) standard normal; clean latents where `known` (b, k).
            num_inference_steps, guidance_scale: see `TextToVideoPipeline`.
            known: key frames that are given; where all are, there is nothing to do.
            on_step, start: see `DiffusionModel.sample`.

        Returns:
            Latents (b, c, k, h, w).
        """
        times = self.keyframe_times.expand(noise.shape[0], -1)
        known = torch.zeros(times.shape, dtype=torch.bool, device=noise.device) if known is None else known

        def walk(x: Tensor, known: Tensor, steps: int, done: int = 0) -> Tensor:
            denoise = guided(self.denoiser, times, text, null, guidance_scale, known)
            report = on_step and (lambda i, estimate: on_step(done + i, estimate))
            return diffusion.sample(denoise, x, steps, known, on_step=report, start=start)

        if known.all():
            return noise
        if start is not None or known.any():
            return walk(noise, known, num_inference_steps)
        return first_then_rest(walk, noise, num_inference_steps)


def first_then_rest(
    walk: Callable[[Tensor, Tensor, int, int], Tensor], noise: Tensor, num_inference_steps: int
) -> Tensor:
    """Half of the steps draw all key frames, of which the first is kept; the other half draws the rest with that one given.

    Drawn all at once they do not use such words as "clockwise": there is nothing yet to turn (benchmarks/LOG.md). It takes as
    many steps; one step alone draws all. The rest begins from the noise that the first was drawn beside.

    Args:
        walk: (x, known, steps, steps done before) -> sample; where `known` (b, k), x is clean.
        noise: (b, c, k, h, w).
        num_inference_steps: at least 1.

    Returns:
        Latents (b, c, k, h, w).
    """
    half = num_inference_steps // 2
    none = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool, device=noise.device)
    first = none.clone()
    if half:
        drawn = walk(noise, none, half, 0)
        noise = torch.cat([drawn[:, :, :1], noise[:, :, 1:]], dim=2)
        first[:, 0] = True
    return walk(noise, first, num_inference_steps - half, half)
