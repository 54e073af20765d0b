"""Where training clips come from: the toy world, which draws them as they are needed, or videos of one's own (`own_clips`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from t2vlearn.codec import FrameCodec
from t2vlearn.questions import Seen
from t2vlearn.recipe import TrainConfig
from t2vlearn.world import Scene, find_paths, render, sample_scene, sample_scenes


class Source(Protocol):
    """Captioned clips without end. Which ones a step gets follows from its number, not from what was asked for before."""

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[Any]:
        """The n clips of a step, in a form that the other methods know.

        Args:
            step: of the stage.
            n: clips in this step's batch, over all processes.
            room: the most clips that any step of the stage takes.
            rng: of what the source leaves open.
        """

    def caption(self, clip: Any, rng: np.random.Generator) -> str:
        """A sentence about a clip."""

    def frames(self, clips: Sequence[Any], numbers: Sequence[int], device: torch.device) -> Tensor:
        """The frames of these numbers: float32 (n, 3, f, s, s) in [-1, 1]."""

    def latents(self, clips: Sequence[Any], numbers: Sequence[int], codec: FrameCodec, device: torch.device) -> Tensor:
        """The same, encoded: (n, c, f, h, w)."""

    def examples(self, numbers: Sequence[int], device: torch.device) -> tuple[list[str], Tensor]:
        """Up to eight captions for sample sheets, and frames (n, 3, f, s, s) of their clips."""


class World:
    """The toy world's training scenes. A clip is (its number, its scene).

    Args:
        config: the recipe.
        seed: of the scenes, and of all that they leave open.
    """

    def __init__(self, config: TrainConfig, seed: int):
        self.config, self.seed = config, seed

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[tuple[int, Scene]]:
        """Scenes number `step * room` on, some with two actors."""
        first = step * room
        splits = np.where(rng.random(n) < self.config.two_actor_share, "two_actors", "train")
        return [(first + i, sample_scene(first + i, str(split), self.seed)) for i, split in enumerate(splits)]

    def caption(self, clip: tuple[int, Scene], rng: np.random.Generator) -> str:
        """English or Chinese, one of many wordings."""
        language = "zh" if rng.random() < self.config.chinese_share else "en"
        return clip[1].caption(language, seed=int(rng.integers(2**31)))

    def frames(self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int], device: torch.device) -> Tensor:
        """Rendered: float32 (n, 3, f, s, s) in [-1, 1]. The clips' numbers are consecutive."""
        c, scenes = self.config.pipeline, [scene for _, scene in clips]
        return render(scenes, c.num_frames, c.size, self.seed, numbers, device, start=clips[0][0])

    def seen(self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int]) -> Seen:
        """What these frames show."""
        scenes = [scene for _, scene in clips]
        return Seen(scenes, find_paths(scenes, self.config.pipeline.num_frames, self.seed, numbers, clips[0][0]))

    def latents(
        self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int], codec: FrameCodec, device: torch.device
    ) -> Tensor:
        """Rendered and encoded: (n, c, f, h, w)."""
        return codec.encode(self.frames(clips, numbers, device))

    def examples(self, numbers: Sequence[int], device: torch.device) -> tuple[list[str], Tensor]:
        """Eight held-out scenes, always the same ones."""
        c, scenes = self.config.pipeline, sample_scenes(8, "heldout", seed=1)
        return [scene.caption("en", seed=1) for scene in scenes], render(
            scenes, c.num_frames, c.size, 1, numbers, device
        )
