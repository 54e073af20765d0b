"""The video generator: the article's third part, key frames (or any given frames) and text -> the whole clip.

Frames that are given have noise level 0 and a mark. Which ones are given decides the task: none: text -> video; the
key frames: key frames -> video; the first: image -> video; first and last: in-betweening; the first few: continuing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from t2vlearn.denoiser import SpaceTimeDenoiser, guided
from t2vlearn.diffusion import DiffusionModel
from t2vlearn.text import Text


def steps_between(num_inference_steps: int) -> int:
    """Steps of the frames between the key frames: a fifth of what the key frames had, rounded up, and at least two.

    Where both neighbours are known, little is left open: more bring nothing there, and motion gets less even with them; one
    alone blurs what is open, such as where a ball has bounced (benchmarks/LOG.md).
    """
    return max(2, -(-num_inference_steps // 5))


class VideoGenerator(nn.Module):
    """Given frames and text -> all frames, by diffusion on the codec's latents.

    Args:
        denoiser: the network.
        num_frames: frames of a clip.
    """

    def __init__(self, denoiser: SpaceTimeDenoiser, num_frames: int):
        super().__init__()
        self.denoiser = denoiser
        self.register_buffer("times", torch.linspace(0, 1, num_frames), persistent=False)

    def generate(
        self,
        diffusion: DiffusionModel,
        text: Text,
        null: Text,
        frames: Tensor,
        known: Tensor,
        num_inference_steps: int,
        guidance_scale: float,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Fill in the frames that are not known.

        Args:
            diffusion: the process that the denoiser was trained with.
            text, null: the captions and what guidance moves away from, batches of b.
            frames: (b, c, f, h, w), clean latents where `known`, standard normal noise elsewhere.
            known: bool (b, f).
            num_inference_steps, guidance_scale: see `TextToVideoPipeline`.
            on_step: see `DiffusionModel.sample`.

        Returns:
            Latents (b, c, f, h, w); known frames come back unchanged.
        """
        times = self.times.expand(frames.shape[0], -1)
        denoise = guided(self.denoiser, times, text, null, guidance_scale, known)
        return diffusion.sample(denoise, frames, num_inference_steps, known, on_step=on_step)
