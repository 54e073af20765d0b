"""What does a reader get for minutes of training? `python benchmarks/quality_over_time.py [--minutes 1 2 5 10] [--seeds 3]`

Each length is a run of its own from nothing, the codec included, for the learning rate falls to zero at its end. Held-out
captions, judged: accuracy by attribute and joint, Fréchet distance over its floor (of as many clips; the floor falls with
their number, and the ratio rises), and sharpness: the mean difference of neighbouring pixels, over that of the real clips of
the same scenes. A run whose result is in the file already is not repeated, so that the table can grow over several evenings;
results of another recipe, machine or number of clips are refused. `--fresh` begins anew.

Prints a table of means with the least and the most, and writes benchmarks/results/quality-over-time.json.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from limit import machine_name
from rich.progress import Progress as Bars
from torch import Tensor

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import SEED, Accuracy, frechet_distance, prompts_of
from t2vlearn.pipeline import to_tensor
from t2vlearn.recipe import PRESETS, TrainConfig
from t2vlearn.training import train
from t2vlearn.world import render

RESULT = Path(__file__).parent / "results" / "quality-over-time.json"
BATCH = 25


def sharpness(clips: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels, across and down."""
    return float((clips.diff(dim=-1).abs().mean() + clips.diff(dim=-2).abs().mean()) / 2)


def setting(config: TrainConfig, samples: int, threads: int) -> dict[str, str | int]:
    """What has to be the same for runs to stand in one table."""
    recipe = hashlib.sha256(repr(config).encode()).hexdigest()[:12]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{machine_name()}, {threads} threads"
    return {"recipe": recipe, "samples": samples, "device": device}


def runs_before(path: Path, now: dict, fresh: bool) -> list[dict]:
    """The runs that are in the file, if they are of this setting."""
    result = json.loads(path.read_text()) if path.exists() and not fresh else {"setting": now, "runs": []}
    if result["setting"] != now:
        sys.exit(f"{path} has runs of another setting, {result['setting']}: --fresh forgets them")
    return result["runs"]


@torch.no_grad()
def judged(pipe: TextToVideoPipeline, samples: int, seed: int = 0) -> dict[str, float]:
    """What the judge and two distances say of held-out clips; recipes are chosen by the captions of another seed."""
    scenes, captions = prompts_of("heldout", samples, seed)
    judge, c = Judge.from_pretrained(), pipe.config
    parts = [pipe(captions[i : i + BATCH], seed=SEED + i).frames for i in range(0, samples, BATCH)]
    made = torch.cat([to_tensor(part) for part in parts])
    real, other = (render(scenes, c.num_frames, c.size, SEED + i) for i in (0, 1))
    features = [torch.cat([judge.features(part) for part in clips.split(BATCH)]) for clips in (made, real, other)]
    readings = [reading for part in made.split(BATCH) for reading in judge.read(part)]
    rows = Accuracy.of(readings, scenes, captions).rows()
    return {name: row["accuracy"] for name, row in rows.items()} | {
        "frechet": frechet_distance(features[0], features[1]) / frechet_distance(features[2], features[1]),
        "sharpness": sharpness(made) / sharpness(real),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", choices=PRESETS, help="what to train")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10], help="lengths of the runs")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each length")
    parser.add_argument("--samples", type=int, default=200, help="held-out clips of each run")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    options = parser.parse_args()
    now = setting(PRESETS[options.preset], options.samples, torch.get_num_threads())
    runs = runs_before(RESULT, now, options.fresh)
    wanted = [(m, seed) for seed in range(options.seeds) for m in options.minutes]
    with Bars() as bars, tempfile.TemporaryDirectory() as folder:
        for minutes, seed in wanted:
            if any((run["minutes"], run["seed"]) == (minutes, seed) for run in runs):
                continue
            bar = bars.add_task(f"{minutes:g} min, seed {seed}", total=1.0)
            start = time.perf_counter()
            out = train(
                PRESETS[options.preset], Path(folder) / f"{minutes}-{seed}", minutes, seed=seed,
                progress=lambda now, bar=bar: bars.update(bar, completed=now.fraction),
            )  # fmt: skip
            spent = time.perf_counter() - start
            pipe = TextToVideoPipeline.from_pretrained(out)
            runs.append({"minutes": minutes, "seed": seed, "seconds": spent} | judged(pipe, options.samples))
            RESULT.write_text(json.dumps({"setting": now, "runs": runs}, indent=1) + "\n")
    names = [name for name in runs[0] if name not in ("minutes", "seed", "seconds")]
    print("minutes  runs  " + "  ".join(f"{name:>17}" for name in names))
    for minutes in sorted({run["minutes"] for run in runs}):
        same = [run for run in runs if run["minutes"] == minutes]
        cells = []
        for name in names:
            values = [run[name] for run in same]
            cells.append(f"{statistics.mean(values):5.2f} ({min(values):4.2f}-{max(values):4.2f})")
        print(f"{minutes:7g}  {len(same):4}  " + "  ".join(f"{cell:>17}" for cell in cells))


if __name__ == "__main__":
    main()
