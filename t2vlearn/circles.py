"""Which way round: how key frames learn to use the words "clockwise" and "counter-clockwise".

A circle's key frames lie 112.5° apart, and its start may be anywhere. So both ways have the same mean picture in every frame,
and what the word says is a product: of word, start and frame. Among everything else ten minutes never find it: what should
come second stands opposite the first, the mean of both ways (benchmarks/LOG.md). An easier task that grows does (Bengio et
al. 2009, "Curriculum Learning"): starts in a small arc, where a word is a mean picture as "left" and "right" are; then for a
while nothing but circles, the first key frame given and the others nearly noise, while the arc becomes the whole circle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from t2vlearn.questions import Seen
from t2vlearn.recipe import TrainConfig
from t2vlearn.sources import World
from t2vlearn.world import Actor, Scene, find_paths, render
from t2vlearn.world.paths import Path, regions
from t2vlearn.world.scenes import COLOURS, SUBJECTS, is_heldout

ENOUGH = 400  # steps of circles alone: fewer do not teach which way round (benchmarks/LOG.md)
WAYS = ("circles clockwise", "circles counter-clockwise")
# Subject -> the colours in which training may show it going either way round. Of some pairs of subject and colour one way is
# held out; were they shown going the other way alone, the pair would say what only the word should.
EITHER_WAY = {
    subject: [colour for colour in COLOURS if not any(is_heldout(subject, colour, way) for way in WAYS)]
    for subject in SUBJECTS
}


class Lesson(NamedTuple):
    """What key frames are learnt from for a while.

    Attributes:
        circling: share of the actors that circle whatever else they would have done.
        given: share of the clips whose first key frame is given, beside the usual ones.
        arc: the part of the circle in which starts lie, centred on its right-hand side.
        shift: s of the noise levels (`diffusion.noisier`): where there is little but noise, the word decides.
    """

    circling: float = 0.0
    given: float = 0.0
    arc: float = 1.0
    shift: float = 1.0


def lesson_at(fraction: float, words: float, turns: tuple[float, float]) -> Lesson:
    """What is learnt from when `fraction` of the stage is done, of which `words` and `turns` are `TrainConfig`'s."""
    start, end = turns
    arc = float(np.interp(fraction, (words, start, (start + end) / 2), (0.05, 0.3, 1.0)))
    if start <= fraction < end:
        return Lesson(1.0, 1.0, arc, math.exp(0.8))  # 0.8 more in the mean of the levels' log(tau / (1 - tau))
    return Lesson(0.1, 0.3, arc)


class Circles(World):
    """The toy world, in which a share of the actors circles, from a start within an arc.

    Args:
        config: the recipe.
        seed: of the scenes.
        circling: as in `Lesson`.
    """

    def __init__(self, config: TrainConfig, seed: int, circling: float = 0.0):
        super().__init__(config, seed)
        self.circling, self.arc = circling, 1.0  # as in `Lesson`

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[tuple[int, Scene]]:
        """As ever, but a share of the actors circles; a coin says which way, also of those who would have circled anyway."""
        choose, clips = np.random.default_rng((77, step)), []
        for number, scene in super().draw(step, n, room, rng):
            actors = [
                self._circling(actor, choose) if choose.random() < self.circling or actor.action in WAYS else actor
                for actor in scene.actors
            ]
            clips.append((number, Scene(tuple(actors), scene.place)))
        return clips

    @staticmethod
    def _circling(actor: Actor, choose: np.random.Generator) -> Actor:
        colours = EITHER_WAY[actor.subject]
        colour = actor.colour if actor.colour in colours else colours[choose.integers(len(colours))]
        return replace(actor, colour=colour, action=WAYS[choose.integers(2)])

    def paths(self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int]) -> list[list[Path]]:
        """As ever, with each circle turned about its middle so that its start lies in the arc."""
        c, scenes, start = self.config.pipeline, [scene for _, scene in clips], clips[0][0]
        paths = find_paths(scenes, c.num_frames, self.seed, numbers, start)
        if self.arc == 1:
            return paths
        for number, (scene, path) in enumerate(zip(scenes, paths, strict=True), start):
            for i, (actor, (x0, x1, y0, y1, _)) in enumerate(zip(scene.actors, regions(scene), strict=True)):
                if actor.action in WAYS:
                    mid_x, mid_y = (x0 + x1) / 2, (y0 + y1) / 2
                    first = find_paths([scene], c.num_frames, self.seed, [0], number)[0][i]
                    angle = math.atan2(float(first.y) - mid_y, float(first.x) - mid_x)
                    turn = (self.arc - 1) * angle  # the start goes from angle to arc * angle
                    x, y = path[i].x - mid_x, path[i].y - mid_y
                    path[i] = path[i]._replace(
                        x=mid_x + math.cos(turn) * x - math.sin(turn) * y,
                        y=mid_y + math.sin(turn) * x + math.cos(turn) * y,
                    )
        return paths

    def frames(self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int], device: torch.device) -> Tensor:
        """Rendered along these paths."""
        c, scenes = self.config.pipeline, [scene for _, scene in clips]
        return render(scenes, c.num_frames, c.size, self.seed, numbers, device, clips[0][0], self.paths(clips, numbers))

    def seen(self, clips: Sequence[tuple[int, Scene]], numbers: Sequence[int]) -> Seen:
        """What these frames show."""
        return Seen([scene for _, scene in clips], self.paths(clips, numbers))
