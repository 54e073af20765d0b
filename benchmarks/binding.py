"""Can a word's vector say whose colour is whose? `python benchmarks/binding.py [--steps 400] [--seeds 1]`

Captions of two actors. Who asks for a subject gets one look at the words' vectors, a softmax over them, and has to name that
actor's colour, size and action; so they must be in the vector of the subject's own word. Text encoder and reader learn that
together, and nothing else, from nothing; with rotary positions, which turn queries and keys in each layer, or with positions
that are added to the words once. In the second half of the table the reader also asks for the first and the second actor, and
whether the star is the first (`recipes/pairs.py`, which teaches the bundled weights so).

Prints shares of right answers about subjects in captions that were not learnt from; writes benchmarks/results/binding.json.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

from t2vlearn import TextToVideoPipeline
from t2vlearn.text import MAX_TOKENS, TextEncoder

sys.path.insert(0, str(Path(__file__).parent / "recipes"))
from pairs import NOT_ASKED, Reader, learn_words, questions

RESULT = Path(__file__).parent / "results" / "binding.json"
ASKED = ("colour", "size", "action")
NEW, SEED = 320, 5


class Added(TextEncoder):
    """A text encoder with a learnt vector for each position, added to the words once, in place of turns."""

    def __init__(self, *args):
        super().__init__(*args)
        self.position = nn.Parameter(torch.randn(MAX_TOKENS, self.embedding.embedding_dim) * 0.02)
        self.frequencies.zero_()

    def read(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ever, from x = E[id] + P."""
        return super().read(words + self.position[: words.shape[1]], mask)


def shares(encoder: TextEncoder, reader: Reader) -> dict[str, float]:
    """Of right answers about subjects."""
    asked = questions(encoder, NEW, SEED + 1, 0, by_order=False)
    with torch.no_grad():
        logits = reader(encoder(asked.ids, asked.mask)[0], asked.mask, asked.asked)
    named = {name: asked.right[name] != NOT_ASKED for name in ASKED}
    return {k: float((logits[k].argmax(-1) == asked.right[k])[named[k]].float().mean()) for k in ASKED}


def main() -> None:
    """Learn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of 64 captions each")
    parser.add_argument("--seeds", type=int, default=1, help="of the first weights of encoders and readers")
    options = parser.parse_args()
    config = TextToVideoPipeline.from_pretrained().config
    kinds = {"added": Added, "rotary": TextEncoder}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed, kind, by_order in track(
        [(seed, kind, by_order) for seed in range(options.seeds) for by_order in (False, True) for kind in kinds]
    ):
        torch.manual_seed(seed)
        encoder = kinds[kind](config.words, config.dim, config.text_depth, config.num_heads)
        reader = Reader(config.dim)
        learn_words(encoder, reader, options.steps, SEED, by_order=by_order)
        runs.setdefault(f"{kind}, {'by order, too' if by_order else 'by subject'}", []).append(shares(encoder, reader))
    print(f"{'positions, asked':24}", *(f"{name:>20}" for name in ASKED))
    for name, rows in runs.items():
        cells = [[row[k] for row in rows] for k in ASKED]
        print(f"{name:24}", *(f"{statistics.mean(c):8.2f} ({min(c):.2f}-{max(c):.2f})" for c in cells))
    RESULT.write_text(json.dumps({"steps": options.steps, "captions": NEW, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
