"""Whose is what: how the words, the key frames and the video generator learnt to tell two actors apart.

The first actor that is named stands on the left, or above. Still the denoising loss alone teaches nobody in thousands of steps
which of two colours belongs where (benchmarks/LOG.md): it is a small part of what is to be painted. Two questions beside it,
asked by layers that are thrown away afterwards, do:

* of the words: "What are the colour, size and action of the star?", "What is the first one?", "Is the star the first?" Whoever
  asks gets one look at the words' vectors (`Reader`), so the answers must be in them.
* of the patches in the key frames' denoiser, behind each block that reads text: "Who stands here, which of the two is it, what
  is it doing?" (`t2vlearn.questions`). Among noise the words alone can tell, so the patch has to ask the right ones.

Single frames of two actors come first, side by side and then in all layouts; then clips among all other scenes, at first fewer
and fewer of two actors, for a ball became a second puppy; with the words read well, as many as one-actor clips did no harm.

The video generator can see in the key frames who is who. But it had seen two actors in a tenth of its clips, and lost more of
what real key frames show than everything else together; all that it needs is more of them (`learn_between`).

The weights that came before had positions added to the words. An encoder with turns alone learnt their vectors, from the second
part's end, in 450 steps; a new run has turns from the start and needs no such thing. The parts were run one by one, with new
layers for the questions in each, and where a clip was made to circle, its first actor alone did; from beginning to end, as it
stands here, the recipe has not been run. The video generator learnt beside the last one, its last thousand steps with the words
of a part after that, which was dropped (benchmarks/LOG.md).

Then which way round: of two that circle each way was a coin's, for the lesson in circles had shown lone actors. `learn_turns`
has it for two, each actor asked for itself, and then everything again. It moved the words' vectors, which the video generator
reads; so that one learnt once more (`learn_between_again`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from t2vlearn.circles import Circles, Lesson
from t2vlearn.denoiser import training_loss
from t2vlearn.first_weights import lineage
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.questions import NOT_ASKED, PatchQuestions, listening, what_is_where
from t2vlearn.recipe import TrainConfig
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import KeyframeTask, VideoTask
from t2vlearn.text import Text, TextEncoder
from t2vlearn.world import ATTRIBUTES, Scene, sample_scene, sample_scenes
from t2vlearn.world.paths import HORIZONTAL
from t2vlearn.world.scenes import SECOND, SUBJECTS

#: What is asked, and how many answers there are; "order": the first or the second that is named.
ANSWERS = {name: len(ATTRIBUTES[name]) for name in ("subject", "colour", "size", "action")} | {"order": 2}
QUESTIONS, CHINESE, SEED = 48, 0.4, 3_000_000  # captions asked about in a step


class Part(NamedTuple):
    """One run of steps.

    Attributes:
        steps: of 16 clips, or of 64 single frames.
        seed: of clips, questions and noise.
        apart: two actors stand side by side only, never one above the other.
        named: share of captions of two actors that must name both colours.
        circles, given, tau_mean: see `circles.Part`.
        words, patches: weights of the two questions.
        changes: of the recipe.
        arc: the part of the circle in which starts lie at first; it grows to the whole in the first half of the steps.
    """

    steps: int
    seed: int
    apart: bool
    named: float
    circles: float
    given: float
    tau_mean: float
    words: float
    patches: float
    changes: dict
    arc: float = 1.0


FRAMES = {
    "images": 1.0,
    "mixed_levels": 0.15,
    "muon_lr": (1.6e-3,) * 3,
    "adamw_lr": (1e-3,) * 3,
    "two_actor_share": 1.0,
}
CLIPS = {"images": 0.0, "mixed_levels": 0.3, "muon_lr": (1.3e-3,) * 3, "adamw_lr": (8e-4,) * 3, "two_actor_share": 0.7}
BOTH = CLIPS | {"images": 0.25, "two_actor_share": 0.6}
AMONG = CLIPS | {"muon_lr": (1.2e-3,) * 3, "adamw_lr": (7e-4,) * 3, "two_actor_share": 0.45}
LAST = CLIPS | {"muon_lr": (1e-3,) * 3, "adamw_lr": (6e-4,) * 3, "two_actor_share": 0.2}
AGAIN = CLIPS | {"images": 0.1, "muon_lr": (1.4e-3,) * 3, "adamw_lr": (9e-4,) * 3, "two_actor_share": 0.5}
WORDS_ALONE = 300  # steps of the text encoder and its reader before all others
PARTS = (
    Part(500, 31, True, 1.0, 0.0, 0.0, 1.6, 0.1, 0.0, FRAMES),
    Part(400, 31, True, 1.0, 0.0, 0.0, 1.6, 0.1, 0.1, FRAMES),
    Part(600, 32, False, 1.0, 0.0, 0.0, 2.0, 0.03, 0.03, FRAMES),
    Part(1400, 33, False, 0.7, 0.1, 0.43, 1.6, 0.02, 0.03, CLIPS),
    Part(2200, 34, False, 0.6, 0.12, 0.43, 1.6, 0.01, 0.02, BOTH),
    Part(1900, 35, False, 0.5, 0.18, 0.43, 1.6, 0.005, 0.01, AMONG),
    Part(950, 36, False, 0.5, 0.12, 0.43, 1.6, 0.005, 0.005, LAST),
    Part(3000, 37, False, 0.5, 0.15, 0.43, 1.6, 0.005, 0.01, AGAIN),  # all but the last once more
)
# Two that circle: each way round was a coin's. At first nearly all of them do, the first key frame given.
CIRCLING = CLIPS | {"mixed_levels": 0.15, "two_actor_share": 1.0}
AFTER = CLIPS | {"muon_lr": (1.2e-3,) * 3, "adamw_lr": (7e-4,) * 3, "two_actor_share": 0.5}
TURNS = (
    Part(500, 51, False, 0.3, 0.7, 1.0, 2.0, 0.0, 0.02, CIRCLING, arc=0.3),
    Part(2500, 52, False, 0.3, 0.2, 0.43, 1.6, 0.0, 0.02, AFTER),
)
BETWEEN_STEPS, BETWEEN_SEED, BETWEEN_TAU_MEAN = 7000, 41, 1.0
AGAIN_STEPS, AGAIN_SEED = 3000, 61
BETWEEN = {
    "batch": (64, 16, 8),
    "mixed_levels": 0.3,
    "muon_lr": (1.5e-3,) * 3,
    "adamw_lr": (1e-3,) * 3,
    "two_actor_share": 0.4,
}


# ---------------------------------------------------------------------- questions to the words


class Reader(nn.Module):
    """softmax(q K^T / sqrt(d)) V with one query, that of a subject or of the first or second actor; a linear layer an answer.

    Args:
        dim: width of the words' vectors.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Embedding(len(SUBJECTS) + 2, dim)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.answers = nn.ModuleDict({name: nn.Linear(dim, n) for name, n in ANSWERS.items()})

    def forward(self, tokens: Tensor, mask: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """Tokens (b, l, d), mask (b, l), query numbers (b, n) -> logits (b, n, values) of each answer."""
        scores = self.query(asked) @ self.key(tokens).mT / tokens.shape[-1] ** 0.5  # (b, n, l)
        read = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1) @ self.value(tokens)
        return {name: layer(read) for name, layer in self.answers.items()}


class Asked(NamedTuple):
    """Captions of two actors as ids and mask (b, l); queries (b, n) and right answers (b, n)."""

    ids: Tensor
    mask: Tensor
    asked: Tensor
    right: dict[str, Tensor]


def questions(encoder: TextEncoder, n: int, seed: int, step: int, by_order: bool = True) -> Asked:
    """Captions number `step n` on, each asked about both actors, by subject and `by_order`, for what it names."""
    scenes, rng = sample_scenes(n, "two_actors", SEED + seed, step * n), np.random.default_rng((seed, step))
    captions = [s.caption("zh" if rng.random() < CHINESE else "en", seed=int(rng.integers(2**31))) for s in scenes]
    queries = [
        [SUBJECTS.index(actor.subject) for actor in scene.actors] + [len(SUBJECTS), len(SUBJECTS) + 1] * by_order
        for scene in scenes
    ]
    right = {name: torch.full((n, len(queries[0])), NOT_ASKED) for name in ANSWERS}
    for i, (scene, caption) in enumerate(zip(scenes, captions, strict=True)):
        for j, (actor, suffix) in enumerate(zip(scene.actors, ("", SECOND), strict=True)):
            for name in caption.named.intersection(name + suffix for name in ANSWERS if name != "order"):
                name = name.removesuffix(SECOND)
                right[name][i, j::2] = ATTRIBUTES[name].index(getattr(actor, name))
            if by_order:
                right["order"][i, j::2] = j
    return Asked(*encoder.tokenize(captions), torch.tensor(queries), right)


def words_loss(reader: Reader, tokens: Tensor, asked: Asked) -> Tensor:
    """Cross-entropy of all answers, added up."""
    logits = reader(tokens, asked.mask, asked.asked)
    return torch.stack(
        [_entropy(logits[name], asked.right[name]) for name in ANSWERS if (asked.right[name] >= 0).any()]
    ).sum()


def _entropy(logits: Tensor, right: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), right.flatten(), ignore_index=NOT_ASKED)


# ---------------------------------------------------------------------- training


class Pairs(Circles):
    """As `Circles`, but two actors stand `apart` where that is asked for, and `named` of their captions name both colours.

    `last` holds the clips and the frames' numbers that were drawn last.
    """

    apart, named = False, 0.0
    last: tuple[list[tuple[int, Scene]], list[int]]

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[tuple[int, Scene]]:
        """As ever, with other pairs in place of those that do not stand as they should."""
        return [(i, self._fitting(i, scene)) for i, scene in super().draw(step, n, room, rng)]

    def _fitting(self, index: int, scene: Scene) -> Scene:
        again = 0
        while self.apart and len(scene.actors) == 2 and any(actor.action in HORIZONTAL for actor in scene.actors):
            again += 1
            scene = sample_scene(index, "two_actors", 1000 * self.seed + again)
        return scene

    def caption(self, clip: tuple[int, Scene], rng: np.random.Generator) -> str:
        """As ever, again and again until it names both colours, if it has to."""
        wanted = {"colour", "colour" + SECOND} if len(clip[1].actors) == 2 and rng.random() < self.named else set()
        while True:
            caption = super().caption(clip, rng)
            if wanted <= caption.named:
                return caption

    def latents(self, clips, numbers, codec, device) -> Tensor:
        """As ever."""
        self.last = (clips, numbers)
        return super().latents(clips, numbers, codec, device)


class Whose(KeyframeTask):
    """Key frames, with both questions beside them, each with the weight that the present part gives it.

    Without a reader nothing is asked of the words.
    """

    part_now: Part
    reader: Reader | None
    patches: PatchQuestions
    asked = 0

    def forward(self, latents, ids, mask, known, tau, noise, times) -> Tensor:
        """The denoising loss and the questions'."""
        tokens, pooled = self.text_encoder(ids, mask)
        text = Text(tokens, mask, pooled)
        with listening(self.reading) as heard:
            loss = training_loss(self.denoiser, self.diffusion, latents, times, text, known, tau, noise)
        clips, numbers = self.source.last
        right = what_is_where(self.source.seen(clips, numbers), self.denoiser.grid // self.denoiser.patch)
        lone = torch.tensor([len(scene.actors) == 1 for _, scene in clips])
        right["order"] = right["actor"].masked_fill(lone.view(-1, 1, 1), NOT_ASKED)
        loss = loss + self.part_now.patches * self.patches(heard, right).mean()
        if self.reader is None:
            return loss
        asked = questions(self.text_encoder, QUESTIONS, self.part_now.seed, self.asked)
        self.asked += 1
        words = words_loss(self.reader, self.text_encoder(asked.ids, asked.mask)[0], asked)
        return loss + self.part_now.words * words


def learn_words(
    encoder: TextEncoder, reader: Reader, steps: int, seed: int, batch: int = 64, by_order: bool = True
) -> None:
    """The questions to the words alone."""
    optimiser = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=7e-4)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 7e-4 * min(1, (step + 1) / 30, (steps - step) / (0.3 * steps))
        asked = questions(encoder, batch, seed, 1_000_000 // batch + step, by_order)
        optimiser.zero_grad()
        words_loss(reader, encoder(asked.ids, asked.mask)[0], asked).backward()
        optimiser.step()


def learn_whose(pipe: TextToVideoPipeline, on_step: Callable[[int, int, float], None] = lambda *_: None) -> None:
    """The words alone, then all parts, on the text encoder and the key frames' denoiser of `pipe`.

    Args:
        pipe: trained weights; changed in place.
        on_step: called with the part, the step and its loss.
    """
    began = time.monotonic()
    reader = Reader(pipe.config.dim)
    learn_words(pipe.text_encoder, reader, WORDS_ALONE, PARTS[0].seed)
    _learn(pipe, PARTS, reader, on_step)
    _record(pipe, PARTS[-1].seed, began)


def learn_turns(pipe: TextToVideoPipeline, on_step: Callable[[int, int, float], None] = lambda *_: None) -> None:
    """Which way round each of two circles. Arguments as of `learn_whose`."""
    began = time.monotonic()
    _learn(pipe, TURNS, None, on_step)
    _record(pipe, TURNS[-1].seed, began)


def _learn(pipe, parts: Sequence[Part], reader: Reader | None, on_step: Callable[[int, int, float], None]) -> None:
    tau_mean = pipe.diffusion.mean
    for number, part in enumerate(parts):
        pipe.diffusion.mean = part.tau_mean
        config = TrainConfig(pipeline=pipe.config, **part.changes)
        source = Pairs(config, part.seed, part.circles)
        source.apart, source.named = part.apart, part.named
        task = Whose(pipe, config, part.seed, source)
        task.lesson, task.part_now, task.reader = Lesson(given=part.given), part, reader
        task.patches = PatchQuestions(pipe.config.dim, ANSWERS, len(task.reading))
        run = StageRun(task, config, Accelerator())
        for step in range(part.steps):
            source.arc = min(part.arc + (1 - part.arc) * 2 * step / part.steps, 1.0)
            on_step(number, step, run.advance(step / part.steps))
        task.load_state_dict(run.ema.module.state_dict())  # the modules are the pipeline's
    pipe.diffusion.mean = tau_mean


def learn_between(pipe: TextToVideoPipeline, on_step: Callable[[int, int, float], None] = lambda *_: None) -> None:
    """The video generator again, with many more clips of two actors. Arguments as of `learn_whose`."""
    _fill(pipe, BETWEEN_STEPS, BETWEEN_SEED, on_step)


def learn_between_again(
    pipe: TextToVideoPipeline, on_step: Callable[[int, int, float], None] = lambda *_: None
) -> None:
    """Fewer steps of the same, after `learn_turns`. Arguments as of `learn_whose`."""
    _fill(pipe, AGAIN_STEPS, AGAIN_SEED, on_step)


def _fill(pipe, steps: int, seed: int, on_step: Callable[[int, int, float], None]) -> None:
    began, tau_mean = time.monotonic(), pipe.diffusion.mean
    pipe.diffusion.mean = BETWEEN_TAU_MEAN
    config = TrainConfig(pipeline=pipe.config, **BETWEEN)
    task = VideoTask(pipe, config, seed)
    run = StageRun(task, config, Accelerator())
    for step in range(steps):
        on_step(0, step, run.advance(step / steps))
    task.load_state_dict(run.ema.module.state_dict())  # the denoiser is the pipeline's
    pipe.diffusion.mean = tau_mean
    _record(pipe, seed, began)


def _record(pipe: TextToVideoPipeline, seed: int, began: float) -> None:
    pipe.info = {
        "seed": seed, "machine": f"{torch.get_num_threads()} CPU threads",
        "minutes": round((time.monotonic() - began) / 60), "after": lineage(pipe.info),
    }  # fmt: skip
