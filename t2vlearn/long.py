"""Longer video: a story, segment by segment, each of which begins where the one before ended.

A clip has 16 frames. To go on, the next one is told how the last one ended: by a frame that is *given* (noise level 0), or
one that starts at a small noise level and is cleaned along with the new frames. A network that knows a noise level for
each frame does both (Chen et al. 2024, "Diffusion Forcing: Next-token Prediction Meets Full-Sequence Diffusion", section
3.3). Here they are equally good (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline, check_numbers, to_uint8
from t2vlearn.video import steps_between


@torch.no_grad()
def generate_long(
    pipe: TextToVideoPipeline,
    stories: Sequence[Sequence[str]],
    num_segments: int | None = None,
    start_level: float = 0.0,
    num_inference_steps: int = 20,
    guidance_scale: float | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Videos of any length, in pieces: the first of f frames, each further one of f - 1, in constant memory.

    A segment's first frame is the last of the segment before, z, started at noise level s: x = (1 - s) z + s epsilon. Its new
    look is used to draw what follows, and not shown: the old one has been.

    Args:
        pipe: the model.
        stories: the videos that are made side by side, each a list of prompts, one for a segment; after the last prompt comes
            the first again. An action has to begin where the one before ends: after "moves left", "moves right".
        num_segments: how many; default: one for each prompt of the longest story.
        start_level: s in [0, 1]; 0 gives the frame as it is, 1 forgets it.
        num_inference_steps, guidance_scale: see `TextToVideoPipeline`.
        seed: of the first video; the next ones count on.

    Yields:
        uint8 (n, f, h, w, 3); joined along f they are the videos.

    Raises:
        UserError: for no stories, a story that is no list or has no prompts, or a start level outside [0, 1]; and as the
            pipeline does.
    """
    if isinstance(stories, str) or any(isinstance(story, str) for story in stories):
        raise UserError("stories are lists of prompts, one list for each video: [[prompt, prompt]]")
    if not stories or not all(stories):
        raise UserError("a story needs at least one prompt for each video")
    if not 0 <= start_level <= 1:
        raise UserError(f"the start level is {start_level}: use a number from 0 (as it is) to 1 (forgotten)")
    guidance_scale = pipe.config.guidance_scale if guidance_scale is None else guidance_scale
    check_numbers(num_inference_steps, guidance_scale)
    segments = max(map(len, stories)) if num_segments is None else num_segments
    if segments < 1:
        raise UserError(f"the number of segments is {segments}: at least 1 is needed")
    for prompt in {prompt for story in stories for prompt in story}:
        pipe.check_prompt(prompt)
    n, frames, keys = len(stories), pipe.config.num_frames, pipe.keyframe_numbers
    decode, last = pipe.visual_encoder.codec.decode, None
    for number in range(segments):
        text, null = pipe.encode_prompt([story[number % len(story)] for story in stories])
        # Each segment has noise of its own: numbers far apart, so that no two videos share any.
        latents, key_latents = pipe.initial_noise([seed + i + number * 1_000_003 for i in range(n)])
        start, known = None, None
        if last is not None:
            # x_s = a z + b epsilon: on the straight path (1 - s) z + s epsilon
            level = torch.full((n,), start_level, device=pipe.device)
            key_latents[:, :, 0] = pipe.diffusion.add_noise(last, key_latents[:, :, 0], level)
            start = torch.ones(n, len(keys), device=pipe.device)
            start[:, 0] = start_level
            known = start == 0
        latents[:, :, keys] = pipe.visual_encoder.generate(
            pipe.diffusion, text, null, key_latents, num_inference_steps, guidance_scale, known, start=start
        )
        known = torch.zeros(n, frames, dtype=torch.bool, device=pipe.device)
        known[:, keys] = True
        latents = pipe.video_generator.generate(
            pipe.diffusion, text, null, latents, known, steps_between(num_inference_steps), 1.0
        )
        yield to_uint8(decode(latents[:, :, 1:] if number else latents))
        last = latents[:, :, -1]
