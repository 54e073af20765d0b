"""The three stages of training: what each learns, and from which batches.

Each step's clips, captions, noise and noise levels follow from (seed, stage, step) alone, once it is known which part of the
stage it is in. So a resumed run sees what an uninterrupted one would have seen, and no random state needs saving.
Several processes draw the same batch, too; each loads and learns from its own part of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2vlearn.circles import ENOUGH, Circles, Lesson, lesson_at
from t2vlearn.codec import NOISE_LEVEL
from t2vlearn.denoiser import SpaceTimeDenoiser, training_loss
from t2vlearn.diffusion import noisier
from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.questions import (
    LOOK,
    WHAT,
    WHERE,
    PatchQuestions,
    Questions,
    listening,
    what_is_said,
    what_is_where,
    where_and_how_large,
)
from t2vlearn.recipe import STAGES, TrainConfig
from t2vlearn.sources import Source, World
from t2vlearn.text import Text


def generator_at(seed: int, stage: str, step: int) -> np.random.Generator:
    """The randomness of one step: it depends on (seed, stage, step) alone."""
    return np.random.default_rng((seed, STAGES.index(stage), step))


class Task(nn.Module):
    """One stage's networks and loss; `batch(step, device, fraction)` gives what `forward` takes.

    `part` says which part of each batch that is: (0, 1) all of it, (2, 4) the third of four.

    Args:
        pipe: whose networks are trained.
        config: the recipe.
        seed: of clips, captions and noise.
        source: of the clips; default: the toy world.
    """

    stage: str
    part: tuple[int, int] = (0, 1)
    for_adamw: tuple[str, ...] = ()  # parts of the names of matrices that are not for Muon
    began: tuple[int, float] = (0, 0.0)  # step and fraction of the stage at which pictures come in

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, seed: int, source: Source | None = None):
        super().__init__()
        self.config, self.seed, self.pipe_config = config, seed, pipe.config
        self.source = source or World(replace(config, pipeline=pipe.config), seed)
        self.batch_size = config.batch[STAGES.index(self.stage)]
        self.clips = self.batch_size  # of the last step; single frames are of more (`_DenoiserTask.batch`)
        # Only the toy world knows what its clips show.
        self.world = self.source if config.questions and isinstance(self.source, World) else None

    def batch(self, step: int, device: torch.device, fraction: float = 1.0) -> tuple[Any, ...]:
        """This part of the batch of a step; `fraction` of the stage is done."""
        raise NotImplementedError

    def pictured(self, fraction: float) -> bool:
        """Whether a step sees pictures when this part of the stage is done; without any, only some of the layers learn."""
        return True

    def pace(self, fraction: float) -> float:
        """Factor of the learning rates, beside their schedule, when this part of the stage is done."""
        return 1.0

    def count(self, batch: tuple[Any, ...]) -> Tensor:
        """How many frames of this part of a batch the loss is the mean of."""
        raise NotImplementedError

    def own(self, n: int) -> slice:
        """Which of the n clips of a whole batch are this part's.

        Raises:
            UserError: if there are fewer clips than parts.
        """
        number, parts = self.part
        if n < parts:
            raise UserError(
                f"a batch of the stage {self.stage!r} has {n} clips for {parts} processes or parts: use at most {n}"
            )
        return slice(n * number // parts, n * (number + 1) // parts)


class CodecTask(Task):
    """Stage 1: frames -> the codec's loss.

    With a frozen encoder the decoder alone goes on learning, and the noise on the latents goes from none up to the usual,
    since what the denoisers deliver in the end is nearly clean.
    """

    stage = "codec"

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, seed: int, source: Source | None = None):
        super().__init__(pipe, config, seed, source)
        self.codec = pipe.visual_encoder.codec
        self.frozen = not any(parameter.requires_grad for parameter in self.codec.encoder.parameters())
        if self.frozen:
            self.world = None
        if self.world is not None:
            self.look = Questions(self.pipe_config.latent_channels, LOOK)
            # A cross-entropy's gradients cancel over the answers: one direction is rounding, which Muon would blow up.
            self.for_adamw = (".heads.",)

    def train(self, mode: bool = True) -> CodecTask:
        """As ever, but the statistics of frozen latents stay as they are."""
        super().train(mode)
        self.codec.normalise.train(mode and not self.frozen)
        return self

    def batch(self, step: int, device: torch.device, fraction: float = 1.0) -> tuple[Any, ...]:
        """Two frames of each of batch / 2 clips, the noise for their latents, how far each is moved, and what is asked."""
        rng, c = generator_at(self.seed, "codec", step), self.pipe_config
        n = self.batch_size // 2
        own = self.own(n)
        wanted = sorted(int(i) for i in rng.choice(c.num_frames, 2, replace=False))
        drawn = self.source.draw(step, n, n, rng)[own]
        frames = self.source.frames(drawn, wanted, device).transpose(1, 2).flatten(0, 1)  # (2 clips, 3, s, s)
        noise = _normal((2 * n, c.latent_channels, c.size // c.down, c.size // c.down), rng)
        # Half of the frames stay where they are, the others move by up to a latent cell.
        shift = rng.integers(-c.down, c.down + 1, (2 * n, 2)) * (rng.random((2 * n, 1)) < 0.5)
        if self.frozen:
            noise = noise * torch.from_numpy(rng.random((2 * n, 1, 1, 1), np.float32))
        frames = frames.contiguous(memory_format=torch.channels_last)
        shifts = torch.from_numpy(shift.astype(np.float32))
        both = slice(2 * own.start, 2 * own.stop)
        batch = frames, noise[both].to(device), shifts[both].to(device)
        if self.world is None:
            return batch
        right = what_is_where(self.world.seen(drawn, wanted), c.size // c.down)
        return *batch, {name: right[name].flatten(0, 1).to(device) for name in LOOK}

    def count(self, batch: tuple[Any, ...]) -> Tensor:
        """All of its frames."""
        return torch.tensor(float(len(batch[0])), device=batch[0].device)

    def forward(self, frames: Tensor, noise: Tensor, shift: Tensor, right: dict[str, Tensor] | None = None) -> Tensor:
        """The codec's loss, and what its noisy latents say of the actors in them."""
        latents = self.codec.encode(frames)
        loss = self.codec.loss(latents, frames, noise, shift)
        if right is None:
            return loss
        cells = (latents + NOISE_LEVEL * noise).flatten(2).transpose(1, 2)  # (b, n, c)
        return loss + self.config.questions * self.look(cells, right).mean()


class _DenoiserTask(Task):
    """What stages 2 and 3 share: captioned clips, a random part of whose frames is given."""

    denoiser: SpaceTimeDenoiser
    lesson = Lesson()

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, seed: int, source: Source | None = None):
        super().__init__(pipe, config, seed, source)
        self.codec = [pipe.visual_encoder.codec]  # in a list: frozen, not a part of what is trained
        self.tokenize = pipe.text_encoder.tokenize
        self.diffusion = pipe.diffusion
        self.keyframes = pipe.keyframe_numbers

    def frame_numbers(self, rng: np.random.Generator, fraction: float) -> list[int]:
        """Frames of the clip that a step works on."""
        raise NotImplementedError

    def known(self, rng: np.random.Generator, n: int, numbers: list[int]) -> Tensor:
        """Bool (n, f): which of the frames with these numbers are given, where a step works on more than one."""
        raise NotImplementedError

    @torch.no_grad()
    def batch(self, step: int, device: torch.device, fraction: float = 1.0) -> tuple[Any, ...]:
        """Latents (p, c, f, h, w), token ids and mask (b, l), given frames (b, f), noise levels, noise, times (p, f).

        All captions have a picture, p = b, or none, p = 0.
        Where questions are asked, their right answers come last, as dictionaries: `what_is_where` for the patches,
        `where_and_how_large` for all key frames of each caption, `what_is_said` for the captions.
        """
        rng, c = generator_at(self.seed, self.stage, step), self.pipe_config
        numbers = self.frame_numbers(rng, fraction)
        single = len(numbers) == 1
        n = self.batch_size * (len(self.keyframes) if single else 1)
        self.clips, own = n, self.own(n)
        clips = self.source.draw(step, n, self.batch_size * len(self.keyframes), rng)
        captions = [
            "" if rng.random() < self.config.caption_dropout else self.source.caption(clip, rng) for clip in clips
        ]
        drawn = own if self.pictured(fraction) else slice(0, 0)
        latents = self._latents(clips[drawn], numbers, device)
        ids, mask = self.tokenize(captions[own])
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        tau = self.diffusion.sample_tau(n * latents.shape[2], torch_rng, device).view(n, -1)  # (b, f)
        tau = noisier(tau, self.lesson.shift)
        alike = torch.from_numpy(rng.random((n, 1)) >= self.config.mixed_levels).to(device)
        tau = torch.where(alike, tau[:, :1], tau)
        known = torch.zeros(n, 1, dtype=torch.bool) if single else self.known(rng, n, numbers)
        noise = _normal((n, *latents.shape[1:]), rng)
        times = torch.tensor(numbers, device=device) / (c.num_frames - 1)
        batch = (
            latents, ids, mask, known[own].to(device),
            tau[drawn], noise[drawn].to(device), times.expand(len(latents), -1),
        )  # fmt: skip
        if self.world is None:
            return batch
        told, side = self.world.seen(clips[own], self.keyframes), c.size // c.down // self.denoiser.patch
        rights = (
            what_is_where(self.world.seen(clips[drawn], numbers), side) if len(latents) else {},
            where_and_how_large(told),
            what_is_said(told.scenes, captions[own]),
        )
        return *batch, *({name: value.to(device) for name, value in right.items()} for right in rights)

    def _latents(self, clips: list[Any], numbers: list[int], device: torch.device) -> Tensor:
        if clips:
            return self.source.latents(clips, numbers, self.codec[0], device)
        c = self.pipe_config
        return torch.empty(0, c.latent_channels, len(numbers), c.size // c.down, c.size // c.down, device=device)

    def _denoising(self, latents, times, text, known, tau, noise) -> Tensor:
        return training_loss(self.denoiser, self.diffusion, latents, times, text, known, tau, noise)

    def count(self, batch: tuple[Any, ...]) -> Tensor:
        """The frames that are not given."""
        return (~batch[3]).sum().float()


class KeyframeTask(_DenoiserTask):
    """Stage 2: the text encoder and the key-frame denoiser, together."""

    stage = "key frames"

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, seed: int, source: Source | None = None):
        super().__init__(pipe, config, seed, source)
        self.text_encoder, self.denoiser = pipe.text_encoder, pipe.visual_encoder.denoiser
        self.reading = [block for block in self.denoiser.blocks if block.cross_attention is not None]
        if self.world is not None:
            dim = self.pipe_config.dim
            self.said, self.where = Questions(dim, WHAT), Questions(dim, WHERE)
            self.what = PatchQuestions(dim, WHAT, len(self.reading))
            # After 250 steps AdamW has taught the words left and right, and Muon has not (benchmarks/LOG.md).
            self.for_adamw = ("text_encoder.", "denoiser.time.", "denoiser.pooled.", ".heads.")
        self.circles: Circles | None = None
        # Whether there is time for the lesson; decided when it begins, so that it is seen through, or stays left out.
        self.enough = self.decided = False
        if config.turns[0] < config.turns[1] and isinstance(self.source, World):
            self.source = self.circles = Circles(self.source.config, self.source.seed)
            self.world = self.circles if self.world is not None else None
        self.register_buffer("plan_times", pipe.visual_encoder.keyframe_times.clone(), persistent=False)

    def batch(self, step: int, device: torch.device, fraction: float = 1.0) -> tuple[Any, ...]:
        """As ever, from what the lesson of the time shows. One for which there is no time is left out."""
        if self.circles is not None:
            (start, end), words = self.config.turns, not self.pictured(fraction)
            if words:  # whose steps are quick, and say nothing of the others'
                self.began, self.enough = (step, fraction), True
            elif fraction < start or not self.decided:
                # In steps, as fast as they have been since pictures came in.
                time = (end - start) * (step - self.began[0]) / max(fraction - self.began[1], 1e-9)
                self.enough, self.decided = round(time) >= ENOUGH, fraction >= start
            self.lesson = lesson_at(fraction, self.config.words, (start, end)) if self.enough else Lesson()
            self.circles.circling, self.circles.arc = self.lesson.circling, self.lesson.arc
        return super().batch(step, device, fraction)

    def frame_numbers(self, rng: np.random.Generator, fraction: float) -> list[int]:
        """One of the key frames at first, then all of them."""
        single = fraction < self.config.images or not self.pictured(fraction)
        return [int(rng.choice(self.keyframes))] if single else self.keyframes

    def pictured(self, fraction: float) -> bool:
        """Not while the words learn alone."""
        return self.world is None or fraction >= self.config.words

    def pace(self, fraction: float) -> float:
        """Words bear larger steps than pictures."""
        return 1.0 if self.pictured(fraction) else 1.5

    def known(self, rng: np.random.Generator, n: int, numbers: list[int]) -> Tensor:
        """One clip in eight has its first key frame given, one in eight a random part of them, and what the lesson adds."""
        k, draw = len(numbers), rng.random(n)
        known = torch.from_numpy((rng.random((n, k)) < 0.5) & (draw < 0.125)[:, None])
        known[:, 0] |= torch.from_numpy((draw >= 0.125) & (draw < 0.25))
        if self.lesson.given:
            known[:, 0] |= torch.from_numpy(rng.random(n) < self.lesson.given)
        return known & ~known.all(1, keepdim=True)

    def plan(self, pooled: Tensor) -> Tensor:
        """silu(W_1 code(t) + W_2 pooled): what is told of each key frame beside its noise level, (b, d) -> (b, k, d)."""
        times = self.plan_times.expand(len(pooled), -1)
        return F.silu(self.denoiser.at(times) + self.denoiser.pooled(pooled).unsqueeze(1))

    def forward(self, latents, ids, mask, known, tau, noise, times, *rights: dict[str, Tensor]) -> Tensor:
        """The denoising loss, and that of the questions: a mean over the frames that are not given, too."""
        tokens, pooled = self.text_encoder(ids, mask)
        if not rights:
            return self._denoising(latents, times, Text(tokens, mask, pooled), known, tau, noise)
        what, where, said = rights
        told = self.said(pooled.unsqueeze(1), said) + self.where(self.plan(pooled).unsqueeze(2), where).mean(1)  # (b,)
        lost = _mean(told.unsqueeze(1).expand_as(known), ~known)
        if not len(latents):
            return self.config.questions * lost
        with listening(self.reading) as heard:
            loss = self._denoising(latents, times, Text(tokens, mask, pooled), known, tau, noise)
        return loss + self.config.questions * (lost + _mean(self.what(heard, what), ~known))


class VideoTask(_DenoiserTask):
    """Stage 3: the video generator; the text encoder stays as it is."""

    stage = "video"

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, seed: int, source: Source | None = None):
        super().__init__(pipe, config, seed, source)
        self.world = None
        self.text_encoder = [pipe.text_encoder]
        self.denoiser = pipe.video_generator.denoiser

    def frame_numbers(self, rng: np.random.Generator, fraction: float) -> list[int]:
        """The key frames and some others, half of the clip together, at first; then all frames."""
        f, keys = self.pipe_config.num_frames, self.keyframes
        others = [i for i in range(f) if i not in keys]
        if fraction < self.config.thinned:
            others = rng.choice(others, min(max(f // 2 - len(keys), 1), len(others)), replace=False).tolist()
        return sorted(keys + others)

    def known(self, rng: np.random.Generator, n: int, numbers: list[int]) -> Tensor:
        """Given: the key frames (5 in 8), the first four (1 in 8), first or first and last (1 in 8), nothing (1 in 8).

        Counted among `numbers`: while clips are thinned, the first four of these are not the clip's first four.
        """
        known = torch.zeros(n, len(numbers), dtype=torch.bool)
        keys = [numbers.index(i) for i in self.keyframes]
        for row, kind in zip(known, rng.integers(8, size=n), strict=True):
            if kind < 5:
                row[keys] = True
            elif kind == 5:
                row[:4] = True
            elif kind == 6:
                row[0], row[-1] = True, bool(rng.random() < 0.5)
        return known & ~known.all(1, keepdim=True)  # in a very short clip that would be all frames

    def forward(self, latents, ids, mask, known, tau, noise, times) -> Tensor:
        """The denoising loss."""
        with torch.no_grad():
            tokens, pooled = self.text_encoder[0](ids, mask)
        return self._denoising(latents, times, Text(tokens, mask, pooled), known, tau, noise)


TASKS: dict[str, type] = {"codec": CodecTask, "key frames": KeyframeTask, "video": VideoTask}


def _mean(x: Tensor, where: Tensor) -> Tensor:
    """The mean of x where that is true; both of one shape."""
    weight = where.to(x.dtype)
    return (x * weight).sum() / weight.sum()


def _normal(shape, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
