"""Which way round: how the key frames learnt to use the words "clockwise" and "counter-clockwise".

A circle's key frames lie 112.5° apart, and its start may be anywhere. So both ways have the same mean picture in every frame,
and what the word says is a product: of word, start and frame. Training on everything at once never found it
(benchmarks/LOG.md). Easier tasks do, each of which goes on from the last:

1. Starts lie in an arc about the right-hand side, which grows until it is the whole circle. At first the word decides about a
   mean picture, as "left" and "right" do, and the text encoder learns to tell the two apart.
2. Starts lie anywhere, and the first key frame is given: the rest is the start, turned by the word. Twice, for
   the turn is learnt suddenly, and of three runs two had not got so far in the first 569 steps.
3. All scenes again, half of them circling; the first key frame is given in half of the clips, which is how key frames
   are drawn in the end (`t2vlearn.visual.first_then_rest`).
4. The same with fewer circles and smaller steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from t2vlearn.first_weights import lineage
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.recipe import TrainConfig
from t2vlearn.sources import World
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import KeyframeTask
from t2vlearn.world import Scene, find_paths, render
from t2vlearn.world.scenes import COLOURS, SUBJECTS, is_heldout

WAYS = ("circles clockwise", "circles counter-clockwise")
# Subject -> the colours in which training may show it going either way round. Of some pairs of subject and colour one way is
# held out; were they shown going the other way alone, the pair would say what only the word should.
EITHER_WAY = {
    subject: [colour for colour in COLOURS if not any(is_heldout(subject, colour, way) for way in WAYS)]
    for subject in SUBJECTS
}


class Part(NamedTuple):
    """One run of steps.

    Attributes:
        steps: of 16 clips.
        seed: of clips and noise.
        share: of the clips that circle whatever else they would have done.
        given: share of the clips whose first key frame is given, beside the usual ones.
        grows: the arc of starts grows, from a twentieth of the circle to all of it.
        tau_mean: of the noise levels; only where there is little but noise does the word decide.
        changes: of the recipe.
    """

    steps: int
    seed: int
    share: float
    given: float
    grows: bool
    tau_mean: float
    changes: dict


ALONE = {"images": 0.0, "mixed_levels": 0.15, "muon_lr": (1.6e-3,) * 3, "adamw_lr": (1e-3,) * 3, "two_actor_share": 0.0}
AMONG = {"images": 0.0, "mixed_levels": 0.5, "muon_lr": (1.2e-3,) * 3, "adamw_lr": (7e-4,) * 3}
LAST = {"images": 0.0, "mixed_levels": 0.25, "muon_lr": (0.8e-3,) * 3, "adamw_lr": (5e-4,) * 3}
PARTS = (
    Part(780, 11, 1.0, 0.0, True, 2.0, ALONE),
    Part(569, 12, 1.0, 1.0, False, 2.0, ALONE),
    Part(600, 13, 1.0, 1.0, False, 2.0, ALONE),
    Part(1100, 14, 0.4, 0.4, False, 1.6, AMONG),
    Part(1000, 15, 0.2, 0.43, False, 1.6, LAST),
)


class Circles(World):
    """The toy world, in which a share of the clips circles, from a start within an arc.

    Args:
        config: the recipe.
        seed: of the scenes.
        share: of the clips that circle whatever else they would have done.
    """

    def __init__(self, config: TrainConfig, seed: int, share: float):
        super().__init__(config, seed)
        self.share, self.arc = share, 1.0  # the arc as a part of the circle, centred on the right-hand side

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[tuple[int, Scene]]:
        """As ever, but a share of the first actors circles; a coin says which way, also where one would have circled anyway."""
        choose = np.random.default_rng((77, step))
        return [
            (number, self._circling(scene, choose) if circles or scene.actors[0].action in WAYS else scene)
            for (number, scene), circles in zip(
                super().draw(step, n, room, rng), choose.random(n) < self.share, strict=True
            )
        ]

    @staticmethod
    def _circling(scene: Scene, choose: np.random.Generator) -> Scene:
        actor = scene.actors[0]
        colours = EITHER_WAY[actor.subject]
        colour = actor.colour if actor.colour in colours else colours[choose.integers(len(colours))]
        first = replace(actor, colour=colour, action=WAYS[choose.integers(2)])
        return Scene((first, *scene.actors[1:]), scene.place)

    def frames(self, clips, numbers, device) -> Tensor:
        """As ever, with each lone actor's circle turned so that its start lies in the arc."""
        c, scenes, start = self.config.pipeline, [scene for _, scene in clips], clips[0][0]
        paths = find_paths(scenes, c.num_frames, self.seed, numbers, start)
        starts = find_paths(scenes, c.num_frames, self.seed, [0], start)
        for scene, path, first in zip(scenes, paths, starts, strict=True):
            if len(scene.actors) == 1 and scene.actors[0].action in WAYS:
                angle = math.atan2(float(first[0].y) - 0.5, float(first[0].x) - 0.5)
                turn = (self.arc - 1) * angle  # the start goes from angle to arc * angle
                x, y = path[0].x - 0.5, path[0].y - 0.5
                path[0] = path[0]._replace(
                    x=0.5 + math.cos(turn) * x - math.sin(turn) * y, y=0.5 + math.sin(turn) * x + math.cos(turn) * y
                )
        return render(scenes, c.num_frames, c.size, self.seed, numbers, device, start, paths)


class Started(KeyframeTask):
    """Key frames, the first of which is given in `given` of the clips beside the usual ones."""

    given = 0.0

    def known(self, rng: np.random.Generator, n: int, numbers: list[int]) -> Tensor:
        """As ever, and the first key frame of a further share of the clips."""
        known = super().known(rng, n, numbers)
        more = torch.from_numpy(rng.random(n) < self.given)
        known[more, 0] = True
        return known & ~known.all(1, keepdim=True)


def learn_ways(pipe: TextToVideoPipeline, on_step: Callable[[int, int, float], None] = lambda *_: None) -> None:
    """All parts, one after the other, on the text encoder and the key frames' denoiser of `pipe`.

    Args:
        pipe: trained weights; changed in place.
        on_step: called with the part, the step and its loss.
    """
    began = time.monotonic()
    for number, part in enumerate(PARTS):
        pipe.diffusion.mean = part.tau_mean
        config = TrainConfig(pipeline=pipe.config, **part.changes)
        source = Circles(config, part.seed, part.share)
        task = Started(pipe, config, part.seed, source)
        task.given = part.given
        run = StageRun(task, config, Accelerator())
        for step in range(part.steps):
            fraction = step / part.steps
            if part.grows:
                source.arc = float(np.clip((fraction - 0.1) / 0.65, 0.05, 1.0))
            on_step(number, step, run.advance(fraction))
        task.load_state_dict(run.ema.module.state_dict())  # the modules are the pipeline's
    pipe.info = {
        "seed": PARTS[-1].seed, "machine": f"{torch.get_num_threads()} CPU threads",
        "minutes": round((time.monotonic() - began) / 60), "after": lineage(pipe.info),
    }  # fmt: skip
