"""Can a word's vector say whose colour is whose? `python benchmarks/binding.py [--steps 400] [--seeds 3]`

Captions of two actors. Who asks for a subject gets one look at the words' vectors, a softmax over them, and has to name that
actor's colour, size and action; so they must be in the vector of the subject's own word. Text encoder and reader learn that
together, and nothing else, from the bundled weights or from nothing; with the encoder's positions as they are, added to the
words once, or with rotary ones, which turn queries and keys in each layer (`t2vlearn.attention.rotate`).

Prints shares of right answers on captions that were not learnt from, and writes benchmarks/results/binding.json.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from t2vlearn import TextToVideoPipeline
from t2vlearn.text import TextEncoder
from t2vlearn.world import ATTRIBUTES, sample_scenes
from t2vlearn.world.scenes import SECOND

RESULT = Path(__file__).parent / "results" / "binding.json"
ASKED = ("colour", "size", "action")
BATCH, NEW, SEED = 64, 320, 3_000_000
NOT_NAMED = -100  # what cross_entropy leaves out


class Rotary(nn.Module):
    """A text encoder whose queries and keys are turned by their positions; otherwise its own layers.

    Args:
        encoder: whose layers these are.
    """

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Ids (b, l), mask (b, l) -> tokens (b, l, d)."""
        e = self.encoder
        x = e.embedding(ids) + e.position[: ids.shape[1]]
        half = x.shape[-1] // e.blocks[0].attention.num_heads // 2
        # position p turns pair i by p 10000^(-i / half) (Su et al. 2021, section 3.2.2)
        angles = torch.arange(ids.shape[1])[:, None] * 10_000.0 ** (-torch.arange(half) / half)
        for block in e.blocks:
            x = x + block.attention(block.norm_1(x), mask=mask, angles=angles.expand(len(ids), -1, -1))
            x = x + block.feed_forward(block.norm_2(x))
        return e.norm(x), None


class Reader(nn.Module):
    """softmax(q K^T / sqrt(d)) V with one query, the subject's: then a linear layer for each attribute that is asked for.

    Args:
        dim: width of the words' vectors.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Embedding(len(ATTRIBUTES["subject"]), dim)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.answers = nn.ModuleDict({name: nn.Linear(dim, len(ATTRIBUTES[name])) for name in ASKED})

    def forward(self, tokens: Tensor, mask: Tensor, subject: Tensor) -> dict[str, Tensor]:
        """Tokens (b, l, d), mask (b, l), subjects (b) -> attribute -> logits (b, values)."""
        scores = (self.key(tokens) @ self.query(subject).unsqueeze(-1)).squeeze(-1) / tokens.shape[-1] ** 0.5
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        read = (weights.unsqueeze(-1) * self.value(tokens)).sum(1)
        return {name: layer(read) for name, layer in self.answers.items()}


class Questions(NamedTuple):
    """Captions (b) as ids and mask, and for both actors of each (2 b): the subject and what is right."""

    ids: Tensor
    mask: Tensor
    subject: Tensor
    right: dict[str, Tensor]


def questions(encoder: TextEncoder, n: int, start: int) -> Questions:
    """Captions number `start` on, 40% in Chinese as in training; what a caption does not name is not asked for."""
    scenes, rng = sample_scenes(n, "two_actors", SEED, start), np.random.default_rng((SEED, start))
    captions = [s.caption("zh" if rng.random() < 0.4 else "en", seed=int(rng.integers(2**31))) for s in scenes]
    actors = [
        (actor, {name for name in ASKED if name + suffix in caption.named})
        for scene, caption in zip(scenes, captions, strict=True)
        for actor, suffix in zip(scene.actors, ("", SECOND), strict=True)
    ]
    right = {
        name: torch.tensor(
            [ATTRIBUTES[name].index(getattr(a, name)) if name in named else NOT_NAMED for a, named in actors]
        )
        for name in ASKED
    }
    subject = torch.tensor([ATTRIBUTES["subject"].index(actor.subject) for actor, _ in actors])
    return Questions(*encoder.tokenize(captions), subject, right)


def answers(encoder: nn.Module, reader: Reader, asked: Questions) -> dict[str, Tensor]:
    """The reader's logits, two actors a caption."""
    tokens, _ = encoder(asked.ids, asked.mask)
    return reader(tokens.repeat_interleave(2, 0), asked.mask.repeat_interleave(2, 0), asked.subject)


def learnt(encoder: nn.Module, reader: Reader, batches: list[Questions], new: Questions) -> dict[str, float]:
    """Train both on the batches; the shares of right answers to new questions."""
    optimiser = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=1e-3)
    for asked in batches:
        logits = answers(encoder, reader, asked)
        loss = torch.stack([F.cross_entropy(logits[k], asked.right[k], ignore_index=NOT_NAMED) for k in ASKED]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits = answers(encoder, reader, new)
    named = {k: new.right[k] != NOT_NAMED for k in ASKED}
    return {k: float((logits[k].argmax(-1) == new.right[k])[named[k]].float().mean()) for k in ASKED}


def main() -> None:
    """Learn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of 64 captions each")
    parser.add_argument("--seeds", type=int, default=3, help="of the first weights of reader and new encoders")
    options = parser.parse_args()
    config, words = (pipe := TextToVideoPipeline.from_pretrained()).config, pipe.text_encoder
    batches = [questions(words, BATCH, i * BATCH) for i in range(options.steps)]
    new = questions(words, NEW, options.steps * BATCH)
    runs: dict[str, list[dict[str, float]]] = {}
    for seed, start, kind in track(
        [(s, start, kind) for s in range(options.seeds) for start in ("bundled", "new") for kind in ("added", "rotary")]
    ):
        torch.manual_seed(seed)
        encoder = TextEncoder(config.words, config.dim, config.text_depth, config.num_heads)
        if start == "bundled":
            encoder.load_state_dict(words.state_dict())
        row = learnt(encoder if kind == "added" else Rotary(encoder), Reader(config.dim), batches, new)
        runs.setdefault(f"{start}, {kind}", []).append(row)
    print(f"{'encoder, positions':20}", *(f"{name:>20}" for name in ASKED))
    for name, rows in runs.items():
        cells = [[row[k] for row in rows] for k in ASKED]
        print(f"{name:20}", *(f"{statistics.mean(c):8.2f} ({min(c):.2f}-{max(c):.2f})" for c in cells))
    RESULT.write_text(json.dumps({"steps": options.steps, "captions": NEW, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
