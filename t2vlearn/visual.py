"""The visual encoder: the article's second part, text -> key frames.

Its CNN (`FrameCodec`) turns a frame into a latent grid and back; its self-attention network draws K still images, one
per marked time step of the clip, by diffusion on those latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from t2vlearn.codec import FrameCodec
from t2vlearn.denoiser import SpaceTimeDenoiser, Text, guided
from t2vlearn.diffusion import DiffusionModel


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
        """Key frames for encoded captions.

        Args:
            diffusion: the process that the denoiser was trained with.
            text, null: the captions and what guidance moves away from, batches of b.
            noise: (b, c, k, h, w) standard normal; clean latents where `known` (b, k).
            num_inference_steps, guidance_scale: see `TextToVideoPipeline`.
            known: key frames that are given.
            on_step, start: see `DiffusionModel.sample`.

        Returns:
            Latents (b, c, k, h, w).
        """
        times = self.keyframe_times.expand(noise.shape[0], -1)
        known = torch.zeros(times.shape, dtype=torch.bool, device=noise.device) if known is None else known
        denoise = guided(self.denoiser, times, text, null, guidance_scale, known)
        return diffusion.sample(denoise, noise, num_inference_steps, known, on_step=on_step, start=start)
