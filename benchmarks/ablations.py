"""What is each choice of the recipe worth? `python benchmarks/ablations.py [--minutes 5] [--seeds 3] [--only NAME ...]`

One change at a time against the default, the same time from nothing, the same held-out captions, judged. A run whose result
is in the file already is not repeated. Prints a table of means with the least and the most, and writes
benchmarks/results/ablations.json.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from quality_over_time import judged
from rich.progress import Progress as Bars

from t2vlearn import TextToVideoPipeline
from t2vlearn.recipe import PRESETS, TrainConfig
from t2vlearn.training import train

RESULT = Path(__file__).parent / "results" / "ablations.json"
TINY = PRESETS["tiny"]
VARIANTS: dict[str, TrainConfig] = {
    "default": TINY,
    "nothing asked": replace(TINY, questions=0.0, words=0.0),
    "pictures beside the words from the start": replace(TINY, words=0.0),
    "no single frames at first": replace(TINY, images=0.0),
    "video: whole clips from the start": replace(TINY, thinned=0.0),
    "no noise levels of their own": replace(TINY, mixed_levels=0.0),
    "key frames: larger steps": replace(TINY, muon_lr=(3e-3,) * 3, adamw_lr=(2e-3,) * 3),
    "codec: twice the frames a step": replace(TINY, batch=(64, 16, 4)),
    "key frames: twice the clips a step": replace(TINY, batch=(32, 32, 4)),
    "no convolutions": replace(TINY, pipeline=replace(TINY.pipeline, convs=0)),
    "noise levels around one half": replace(TINY, pipeline=replace(TINY.pipeline, tau_mean=0.0)),
    "v in place of x_0": replace(TINY, pipeline=replace(TINY.pipeline, prediction="v")),
    "DDPM in place of rectified flow": replace(TINY, pipeline=replace(TINY.pipeline, process="ddpm")),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="length of each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--samples", type=int, default=200, help="held-out clips of each run")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="these variants")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    setting = {"minutes": options.minutes, "samples": options.samples, "device": device}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    runs = result["runs"] if result.get("setting") == setting else []
    with Bars() as bars, tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for name in options.only or VARIANTS:
                if any((run["variant"], run["seed"]) == (name, seed) for run in runs):
                    continue
                bar = bars.add_task(f"{name}, seed {seed}", total=1.0)
                out = train(
                    VARIANTS[name], Path(folder) / f"{len(runs)}", options.minutes, seed=seed,
                    progress=lambda now, bar=bar: bars.update(bar, completed=now.fraction),
                )  # fmt: skip
                found = judged(TextToVideoPipeline.from_pretrained(out), options.samples)
                runs.append({"variant": name, "seed": seed} | found)
                RESULT.write_text(json.dumps({"setting": setting, "runs": runs}, indent=1) + "\n")
    for name in VARIANTS:
        values = [run["joint"] for run in runs if run["variant"] == name]
        if values:
            print(
                f"{name:36} joint {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}), {len(values)} runs"
            )


if __name__ == "__main__":
    main()
