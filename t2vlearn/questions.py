"""Questions with known answers, asked while a network learns and dropped afterwards.

The denoising loss alone is slow to teach what a word is for: most of a picture's squared error is background, and a
patch of noise says little about its caption. But the toy world knows what it draws, and a linear layer can be asked for
it: behind the network's middle layers (Lee et al. 2015, "Deeply-Supervised Nets", section 2) and of the codec's latents,
where a thing whose kind is plain to see is learnt sooner by a diffusion model (Yao et al. 2025, "Reconstruction vs.
Generation", section 3, align latents with the features of a vision model). What it brings: benchmarks/LOG.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2vlearn.world.captions import Caption
from t2vlearn.world.paths import Path
from t2vlearn.world.scenes import ATTRIBUTES, Scene

NOT_ASKED = -100  # what cross_entropy leaves out
NEAR = 1.0  # half heights from an actor's middle: there a patch is asked about it,
FAR = 1.2  # unless the other one's middle is nearer than this
LEAST = 0.13  # half height, as a share of the frame's: of a smaller actor the patches around it are asked as well
CELLS, SIZES = 8, 6  # how exactly "where" and "how large" are asked
WHAT = {name: len(values) for name, values in ATTRIBUTES.items()}  # answers to `what_is_where` and `what_is_said`
LOOK = {name: WHAT[name] for name in ("subject", "colour")}  # what a single frame shows of an actor at a glance
WHERE = {"where": CELLS**2, "size": SIZES}  # answers to `where_and_how_large`


class Seen(NamedTuple):
    """What some clips show: their scenes, and where each actor is in the frames at hand (`world.find_paths`)."""

    scenes: Sequence[Scene]
    paths: Sequence[Sequence[Path]]


def what_is_where(seen: Seen, side: int) -> dict[str, Tensor]:
    """The right answers for each of side x side patches: (b, f, side^2) whole numbers, NOT_ASKED where nobody can know.

    "actor" is 0 or 1, the first or the second of the scene, near the actor's middle; "subject", "colour", "size" and "action"
    are that actor's, as indices into `ATTRIBUTES`; "place" is asked everywhere.
    """
    scenes, frames = seen.scenes, len(seen.paths[0][0].x)
    centres = (torch.arange(side) + 0.5) / side
    distance = torch.full((len(scenes), 2, frames, side, side), torch.inf)  # in half heights
    for own, found in zip(distance, seen.paths, strict=True):
        for one, path in zip(own, found, strict=False):
            x, y, size = (value[:, None, None] for value in path[:3])
            one[:] = torch.hypot(centres - x, centres[:, None] - y) / size.clamp(min=LEAST)
    near = (distance.amin(1) < NEAR) & (distance.amax(1) > FAR)
    actor = torch.where(near, distance.argmin(1), NOT_ASKED).flatten(2)  # (b, f, side^2)
    right = {"actor": actor}
    for name in ("subject", "colour", "size", "action"):
        values = torch.full((len(scenes), 2), NOT_ASKED)
        for i, scene in enumerate(scenes):
            for j, who in enumerate(scene.actors):
                value = who.named_size if name == "size" else getattr(who, name)
                if value is not None:
                    values[i, j] = ATTRIBUTES[name].index(value)
        right[name] = torch.where(actor < 0, NOT_ASKED, values.gather(1, actor.clamp(min=0).flatten(1)).view_as(actor))
    place = torch.tensor([ATTRIBUTES["place"].index(scene.place) for scene in scenes])
    return right | {"place": place.view(-1, 1, 1).expand_as(actor)}


def where_and_how_large(seen: Seen) -> dict[str, Tensor]:
    """The right answers for each frame of a lone actor, (b, f, 1): which of 8 x 8 cells its middle is in, and its size.

    Sizes are half octaves of half the height, from 1/16 of the frame's height on.
    """
    shape = len(seen.scenes), len(seen.paths[0][0].x), 1
    right = {name: torch.full(shape, NOT_ASKED) for name in ("where", "size")}
    for i, found in enumerate(seen.paths):
        if len(found) == 1:
            column, row = ((value * CELLS).long().clamp(0, CELLS - 1) for value in found[0][:2])
            right["where"][i, :, 0] = row * CELLS + column
            right["size"][i, :, 0] = ((found[0].size.log2() + 4) * 2).long().clamp(0, SIZES - 1)
    return right


def what_is_said(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, Tensor]:
    """The right answers for each caption about a lone actor, (b, 1): of each attribute that it names. "" names none."""
    right = {name: torch.full((len(scenes), 1), NOT_ASKED) for name in ATTRIBUTES}
    for i, (scene, caption) in enumerate(zip(scenes, captions, strict=True)):
        if len(scene.actors) == 1 and isinstance(caption, Caption):
            for name in caption.named:
                right[name][i] = ATTRIBUTES[name].index(scene.attributes[name])
    return right


class Questions(nn.Module):
    """One linear layer a question, the same for every cell, patch, frame or caption.

    They always start from the same numbers, as a run that goes on from the end of a stage must. (Starting at zero, they are
    learnt from so much later that the subjects of a ten-minute run suffer: benchmarks/LOG.md.)

    Args:
        dim: width of what is asked.
        answers: question -> number of possible answers.
    """

    def __init__(self, dim: int, answers: dict[str, int]):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.heads = nn.ModuleDict({name: nn.Linear(dim, n) for name, n in answers.items()})

    def forward(self, x: Tensor, right: dict[str, Tensor]) -> Tensor:
        """x (..., n, d), right answers (..., n) -> cross-entropy (...), the mean over what is asked, summed over questions."""
        total = x.new_zeros(x.shape[:-2])
        for name, head in self.heads.items():
            lost = F.cross_entropy(
                head(x).flatten(0, -2), right[name].flatten(), ignore_index=NOT_ASKED, reduction="none"
            ).view(x.shape[:-1])
            total = total + lost.sum(-1) / (right[name] != NOT_ASKED).sum(-1).clamp(min=1)
        return total


class PatchQuestions(nn.ModuleList):
    """`Questions` behind each of some blocks.

    Args:
        dim: width of the blocks' tokens.
        answers: question -> number of possible answers.
        blocks: how many.
    """

    def __init__(self, dim: int, answers: dict[str, int], blocks: int):
        super().__init__(Questions(dim, answers) for _ in range(blocks))

    def forward(self, heard: Sequence[Tensor], right: dict[str, Tensor]) -> Tensor:
        """What each block returns, (b, f, n, d), and right answers (b, f, n) -> cross-entropy (b, f), the blocks' mean."""
        lost = [ask(F.layer_norm(x, x.shape[-1:]), right) for ask, x in zip(self, heard, strict=True)]
        return torch.stack(lost).mean(0)


@contextmanager
def listening(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that fills with what these blocks return, in the order in which they run."""
    heard: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, inputs, output: heard.append(output)) for block in blocks]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
