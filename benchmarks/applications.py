"""Does a character stay itself, does a game obey? `python benchmarks/applications.py [--stories 24] [--seeds 4] [--steps 10]`

Film: stories of four shots with one character, made in three ways; the judge reads each shot. Games: every pair of two
actions, the second clip made from the end of the first in three ways; the judge reads whether it shows what was asked
(the given frames, four or one, are among what it reads).
Prints two tables and writes benchmarks/results/applications.json. About six minutes on one core.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import wilson
from t2vlearn.pipeline import BUNDLED
from t2vlearn.storage import digest_of
from t2vlearn.world import ATTRIBUTES

RESULT = Path(__file__).parent / "results" / "applications.json"
CHARACTERS = {"dog": "runs", "cat": "runs", "bird": "flies"}
SHOTS = (
    ("the {name} {moves} to the right in the park", "moves right"),
    ("the {name} plays with a ball on the beach", "plays with a ball"),
    ("the {name} jumps in the snow", "jumps"),
    ("the {name} {moves} to the left at night", "moves left"),
)
PLAYER = {
    "moves left": "a brown puppy runs to the left in the park",
    "moves right": "a brown puppy runs to the right in the park",
    "jumps": "a brown puppy jumps in the park",
    "plays with a ball": "a brown puppy plays with a ball in the park",
}
#: What the next clip is given of the last one.
WAYS = {
    "last four frames": lambda clip: {"continue_from": clip},
    "last frame": lambda clip: {"continue_from": clip[-1:]},
    "last frame, as first key frame": lambda clip: {"image": clip[-1]},
}


def share(hits: int, n: int) -> dict:
    """A share with its interval, for JSON."""
    return {"share": hits / n, "hits": hits, "n": n, **dict(zip(("low", "high"), wilson(hits, n), strict=True))}


def films(pipe: TextToVideoPipeline, judge: Judge, stories: int, steps: int) -> dict:
    """Way -> how often all four shots have one colour, and the rest of what the judge sees."""
    seen: dict[str, list[list[dict]]] = {"a seed each": [], "one seed": [], "colour named": []}
    for story in track(range(stories), description="stories"):
        name, moves = list(CHARACTERS.items())[story % len(CHARACTERS)]
        first = 100 * story
        seeds = [first, first + 1, first + 2, first + 3]

        def shots(called: str, seeds: list[int], moves: str = moves) -> list[dict]:
            prompts = [prompt.format(name=called, moves=moves) for prompt, _ in SHOTS]
            return judge.read(pipe(prompts, steps, seed=seeds).frames)

        plain = shots(name, seeds)
        seen["a seed each"].append(plain)
        seen["one seed"].append(shots(name, [first] * 4))
        seen["colour named"].append(shots(f"{plain[0]['colour']} {name}", seeds))
    wanted = [action for _, action in SHOTS]
    return {
        way: {
            "one colour": share(sum(len({shot["colour"] for shot in shots}) == 1 for shots in tales), stories),
            "one subject": share(sum(len({shot["subject"] for shot in shots}) == 1 for shots in tales), stories),
            "one size": share(sum(len({shot["size"] for shot in shots}) == 1 for shots in tales), stories),
            "actions": share(
                sum(shot["action"] == action for shots in tales for shot, action in zip(shots, wanted, strict=True)),
                4 * stories,
            ),
        }
        for way, tales in seen.items()
    }


def games(pipe: TextToVideoPipeline, judge: Judge, seeds: int, steps: int) -> dict:
    """Way -> table [first action][next action] of how often the judge sees the next action, and seconds a clip."""
    actions, prompts = list(PLAYER), list(PLAYER.values())
    assert set(actions) <= set(ATTRIBUTES["action"])
    table = {way: np.zeros((len(actions), len(actions)), int) for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in track(range(seeds), description="games"):
        begun = pipe(prompts, steps, seed=5000 + 10 * seed).frames
        for i, clip in enumerate(begun):
            for way, given in WAYS.items():
                begin = time.process_time()
                out = pipe(prompts, steps, seed=7000 + 10 * seed, **given(clip)).frames
                spent[way].append((time.process_time() - begin) / len(prompts))
                table[way][i] += [shot["action"] == a for shot, a in zip(judge.read(out), actions, strict=True)]
    return {
        "actions": actions,
        "seeds": seeds,
        "ways": {
            way: {
                "table": hits.tolist(),
                "all": share(int(hits.sum()), hits.size * seeds),
                "cpu_seconds_a_clip": float(np.median(spent[way])),
            }
            for way, hits in table.items()
        },
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=24, help="stories of four shots, made in three ways each")
    parser.add_argument("--seeds", type=int, default=4, help="games for each pair of actions")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps")
    options = parser.parse_args()
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    result = {
        "weights": digest_of(BUNDLED),
        "steps": options.steps,
        "film": films(pipe, judge, options.stories, options.steps),
        "games": games(pipe, judge, options.seeds, options.steps),
    }
    for way, rows in result["film"].items():
        print(f"{way}: " + ", ".join(f"{name} {row['share']:.2f}" for name, row in rows.items()))
    for way, found in result["games"]["ways"].items():
        print(f"{way}: {found['all']['hits']} of {found['all']['n']}, {found['cpu_seconds_a_clip']:.2f} s a clip")
        print(np.array(found["table"]))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
