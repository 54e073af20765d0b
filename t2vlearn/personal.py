"""Teaching a new character: captioned clips of it -> an adapter (`t2vlearn.adapters`).

Some clips of the old world are rehearsed beside the new ones, so that their words keep their meaning (Ruiz et al. 2023,
"DreamBooth").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from t2vlearn.adapters import add_character, characters, check_word, networks, rows_of, use_characters, weights_of
from t2vlearn.denoiser import training_loss
from t2vlearn.errors import UserError
from t2vlearn.optim import Muon, schedule
from t2vlearn.pipeline import TextToVideoPipeline, to_tensor
from t2vlearn.text import check_words
from t2vlearn.world import render, sample_scenes

ROW_LR = 3e-2  # AdamW's, for the word's row
OLD = 0.25  # share of old clips in a batch
IMAGES = 0.6  # first part of the key frames' steps that works on single frames: looks, before motions
TAU_MEAN = 1.0  # of the key frames' noise levels: lower than in training, for places and motions are known


def learn_character(
    pipe: TextToVideoPipeline,
    word: str,
    clips: np.ndarray | Tensor,
    captions: Sequence[str],
    steps: tuple[int, int, int] = (150, 350, 100),
    batch: tuple[int, int, int] = (48, 8, 4),
    lr: float = 6e-3,
    seed: int = 0,
    like: Sequence[str] = (),
    on_step: Callable[[str, int, float], None] | None = None,
) -> dict[str, list[float]]:
    """Teach the pipeline a word from captioned clips; afterwards it knows the word, as after `load_character`.

    The losses are those of training, `FrameCodec.loss` and `training_loss`, over the adapters and the word's row alone.

    Args:
        pipe: the model.
        word: the new word; one that is a character already learns on.
        clips: uint8 (n, f, h, w, 3), or (n, 3, f, h, w) in [-1, 1].
        captions: n sentences with the word in them.
        steps: for the codec's decoder, for the key frames and for the video generator.
        batch: frames, clips and clips a step; of single frames as many times more as there are key frames.
        lr: Muon's learning rate, falling to zero in the second half.
        seed: of everything random.
        like: known words of which the new one is a kind: its row begins as their mean (default: the mean of all words).
        on_step: called as (network, step, loss).

    Returns:
        The losses of each network: "decoder", "keyframes" and "video".

    Raises:
        UserError: for a bad word, clips and captions that do not fit, captions that are too long, or a pipeline that is not on
            the CPU.
    """
    if pipe.device.type != "cpu":
        raise UserError(f"characters are learnt on the CPU, and the pipeline is on {pipe.device}: pipe.to('cpu') first")
    x, c = clips if isinstance(clips, Tensor) else to_tensor(clips), pipe.config
    if x.shape[1:] != (3, c.num_frames, c.size, c.size) or len(x) != len(captions) or not len(x):
        raise UserError(
            f"as many captions as clips of {c.num_frames} frames of {c.size} x {c.size} are needed, "
            f"not {len(captions)} and {tuple(x.shape)}"
        )
    check_word(pipe, word)
    if not all(word in pipe.text_encoder.pieces(caption) for caption in captions):
        raise UserError(f"every caption needs the word {word!r} in it")
    for caption in captions:  # before there is a character
        check_words(pipe.text_encoder.pieces(caption))
    torch.manual_seed(seed)
    if word not in characters(pipe):
        add_character(pipe, word, like)
    use_characters(pipe, [word])
    lesson = _Lesson(pipe, x, list(captions), seed)
    row = rows_of(pipe)[word]
    losses: dict[str, list[float]] = {}
    for (name, network), n_steps, n in zip(networks(pipe).items(), steps, batch, strict=True):
        trained = list(weights_of(network, word).values())
        optimisers: list[torch.optim.Optimizer] = [Muon(trained, lr=lr, weight_decay=0.0)]
        if name == "keyframes":
            trained.append(row)
            optimisers.append(torch.optim.AdamW([row], lr=ROW_LR, weight_decay=0.0))
        rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
        for parameter in trained:
            parameter.requires_grad_(True)
        losses[name] = []
        for step in range(n_steps):
            for optimiser, rate in zip(optimisers, rates, strict=True):
                factor = schedule(step / n_steps, step, warm_up=20, cool_down=0.5)
                optimiser.param_groups[0]["lr"] = rate * factor
            loss = lesson.decoder_loss(n) if name == "decoder" else lesson.denoiser_loss(name, n, step / n_steps)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            losses[name].append(loss.item())
            if on_step is not None:
                on_step(name, step + 1, loss.item())
        for parameter in trained:
            parameter.requires_grad_(False)
    use_characters(pipe, characters(pipe))
    return losses


class _Lesson:
    """The clips of a new character and as many old ones, and the losses on them."""

    def __init__(self, pipe: TextToVideoPipeline, clips: Tensor, captions: list[str], seed: int):
        self.pipe, self.captions, self.rng = pipe, captions, np.random.default_rng(seed)
        self.old = sample_scenes(len(clips), "train", seed)
        self.clips = clips, render(self.old, pipe.config.num_frames, pipe.config.size, seed)
        with torch.no_grad():
            self.latents = tuple(pipe.visual_encoder.codec.encode(c) for c in self.clips)

    def picks(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of new clips and of old ones, n together."""
        new, old = np.split(self.rng.integers(len(self.captions), size=n), [n - round(n * OLD)])
        return new, old

    def decoder_loss(self, n: int) -> Tensor:
        """The codec's loss on n frames, with latents as noisy as a generator's, or less."""
        picks = self.picks(n)
        frames = torch.cat([
            clips[pick, :, self.rng.integers(clips.shape[2], size=len(pick))] for clips, pick in zip(self.clips, picks)
        ])  # fmt: skip
        shape = self.latents[0].shape
        noise = torch.randn(n, shape[1], *shape[3:]) * torch.rand(n, 1, 1, 1)
        codec = self.pipe.visual_encoder.codec
        return codec.loss(codec.encode(frames), frames, noise, torch.zeros(n, 2))

    def denoiser_loss(self, name: str, n: int, fraction: float) -> Tensor:
        """The denoising loss on n clips, or on four times as many frames; `fraction` of the steps is done."""
        pipe, rng, frames = self.pipe, self.rng, self.pipe.config.num_frames
        numbers = pipe.keyframe_numbers if name == "keyframes" else list(range(frames))
        if name == "keyframes" and fraction < IMAGES:
            n, numbers = n * len(numbers), [int(rng.integers(frames))]
        new, old = self.picks(n)
        latents = torch.cat([self.latents[0][new], self.latents[1][old]])[:, :, numbers]
        texts = [self.captions[i] for i in new]
        texts += ["" if rng.random() < 0.4 else self.old[i].caption("en", int(rng.integers(2**31))) for i in old]
        known = torch.zeros(n, len(numbers), dtype=torch.bool)
        tau = pipe.diffusion.sample_tau(n)[:, None]
        if name == "keyframes":
            tau = torch.sigmoid(TAU_MEAN + torch.randn(n, 1))
        else:
            known[:, pipe.keyframe_numbers] = frames > len(pipe.keyframe_numbers)  # else there would be nothing to draw
        times = (torch.tensor(numbers) / (frames - 1)).expand(n, -1)
        text, noise = pipe.text_encoder.encode(texts), torch.randn(latents.shape)
        return training_loss(networks(pipe)[name], pipe.diffusion, latents, times, text, known, tau, noise)
