"""What does a reader get for minutes of training? `python benchmarks/quality_over_time.py [--minutes 1 2 5 10] [--seeds 3]`

Each length is a run of its own from nothing, the codec included, for the learning rate falls to zero at its end. Held-out
captions, judged: accuracy by attribute and joint, Fréchet distance over its floor, and sharpness: the mean difference of
neighbouring pixels, over that of the real clips of the same scenes. A run whose result is in the file already is not
repeated, so that the table can grow over several evenings; `--fresh` begins anew.

Prints a table of means with the least and the most, and writes benchmarks/results/quality-over-time.json.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.progress import Progress as Bars
from torch import Tensor

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import SEED, Accuracy, frechet_distance, prompts_of
from t2vlearn.pipeline import to_tensor
from t2vlearn.recipe import PRESETS
from t2vlearn.training import train
from t2vlearn.world import render

RESULT = Path(__file__).parent / "results" / "quality-over-time.json"
BATCH = 25


def sharpness(clips: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels, across and down."""
    return float((clips.diff(dim=-1).abs().mean() + clips.diff(dim=-2).abs().mean()) / 2)


@torch.no_grad()
def judged(pipe: TextToVideoPipeline, samples: int) -> dict[str, float]:
    """What the judge and two distances say of held-out clips."""
    scenes, captions = prompts_of("heldout", samples)
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
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    setting = {"preset": options.preset, "samples": options.samples, "device": device}
    result = json.loads(RESULT.read_text()) if RESULT.exists() and not options.fresh else {}
    runs = result["runs"] if result.get("setting") == setting else []
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
            RESULT.write_text(json.dumps({"setting": setting, "runs": runs}, indent=1) + "\n")
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
