"""What do fewer sampling steps cost? `python benchmarks/few_steps.py [--steps 4 8 12] [--guidance 3]`

First the seconds of one clip of the bundled weights (the median of seven, in turns, loading apart), so start it on a quiet
machine; then the judge reads clips of the same held-out captions and seeds at each number of steps, with the guidance that
the weights ask for and with others. Differences in joint accuracy are paired with the default, 20 steps and the weights' own
guidance, with their 95% intervals. The article's sentence is drawn with seeds 0 to 99. Prints a table, writes
benchmarks/results/few-steps.json. About half an hour on two cores.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import SEED, Accuracy, frechet_distance, prompts_of
from t2vlearn.pipeline import BUNDLED, to_tensor
from t2vlearn.storage import digest_of
from t2vlearn.world import render

RESULT = Path(__file__).parent / "results" / "few-steps.json"
USUAL, BATCH, REPEAT = 20, 25, 7
ARTICLE, SEEDS = "一只小狗在公园里玩耍", 100  # a puppy plays in the park


def seconds_of_a_clip(pipe: TextToVideoPipeline, steps: list[int]) -> dict[int, float]:
    """Median over clips that are made in turns."""
    spent: dict[int, list[float]] = {number: [] for number in steps}
    pipe("a red star", min(steps))  # the first clip also pays for what is set up once
    for seed in range(REPEAT):
        for number in steps:
            start = time.perf_counter()
            pipe("a brown puppy plays in the park", number, seed=seed)
            spent[number].append(time.perf_counter() - start)
    return {number: statistics.median(values) for number, values in spent.items()}


def follows_the_article(pipe: TextToVideoPipeline, judge: Judge, number: int, guidance: float) -> float:
    """Share of seeds with which a puppy plays in a park."""
    wanted = {"subject": "puppy", "action": "plays with a ball", "place": "park"}
    right = 0
    for first in range(0, SEEDS, BATCH):
        frames = pipe([ARTICLE] * BATCH, number, guidance, seed=first).frames
        right += sum(wanted.items() <= reading.items() for reading in judge.read(frames))
    return right / SEEDS


@torch.no_grad()
def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 12], help=f"numbers of steps beside {USUAL}")
    parser.add_argument("--samples", type=int, default=300, help="held-out captions")
    parser.add_argument(
        "--guidance", type=float, nargs="+", default=[3.0], help="scales beside the one that the weights ask for"
    )
    options = parser.parse_args()
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    steps = sorted({*options.steps, USUAL})
    usual = (USUAL, pipe.config.guidance_scale)
    ways = list(itertools.product(steps, sorted({*options.guidance, usual[1]})))
    seconds = seconds_of_a_clip(pipe, steps)

    scenes, captions = prompts_of("heldout", options.samples)
    right: dict[tuple[int, float], list[bool]] = {way: [] for way in ways}
    features: dict[tuple[int, float] | str, list[torch.Tensor]] = {name: [] for name in (*ways, "real", "other")}
    with Progress() as bars:
        bar = bars.add_task("clips", total=options.samples)
        for first in range(0, options.samples, BATCH):
            part = slice(first, min(first + BATCH, options.samples))
            for name, seed in (("real", SEED), ("other", SEED + 1)):
                clips = render(scenes[part], pipe.config.num_frames, pipe.config.size, seed, start=first)
                features[name].append(judge.features(clips))
            for way in ways:
                clips = to_tensor(pipe(captions[part], *way, seed=SEED + first).frames)
                features[way].append(judge.features(clips))
                for reading, scene, caption in zip(judge.read(clips), scenes[part], captions[part], strict=True):
                    right[way].append(bool(Accuracy.of([reading], [scene], [caption]).hits["joint"]))
            bars.update(bar, completed=part.stop)

    seen = {name: torch.cat(parts) for name, parts in features.items()}
    floor = frechet_distance(seen["other"], seen["real"])
    rows = []
    print("steps  guidance  seconds  joint  against the default (95%)   Fréchet / floor  the article's sentence")
    for way in ways:
        number, guidance = way
        gained = np.array(right[way], float) - np.array(right[usual], float)
        mean, half = float(gained.mean()), 1.96 * float(gained.std()) / len(gained) ** 0.5
        row = {
            "steps": number, "guidance": guidance, "seconds": seconds[number], "joint": float(np.mean(right[way])),
            "difference": mean, "half": half, "frechet": frechet_distance(seen[way], seen["real"]) / floor,
            "article": follows_the_article(pipe, judge, number, guidance),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{number:5}  {guidance:8g}  {row['seconds']:7.2f}  {row['joint']:.3f}  {mean:+.3f} ± {half:.3f}"
            f"             {row['frechet']:15.2f}  {row['article']:22.2f}"
        )
    setting = {
        "samples": options.samples,
        "usual": usual,
        "threads": torch.get_num_threads(),
        "repeat": REPEAT,
    }
    RESULT.write_text(json.dumps({"weights": digest_of(BUNDLED), "setting": setting, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
