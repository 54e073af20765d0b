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

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from t2vlearn.circles import Circles, Lesson
from t2vlearn.first_weights import lineage
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.recipe import TrainConfig
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import KeyframeTask


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
        task = KeyframeTask(pipe, config, part.seed, source)
        task.lesson = Lesson(given=part.given)
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
