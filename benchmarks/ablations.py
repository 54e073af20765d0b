"""What is each choice of the recipe worth? `python benchmarks/ablations.py [--minutes 4] [--jobs 2] [--only NAME ...]`

One change at a time against the default, the same time from nothing, the same held-out captions, judged. Runs beside each
other share the threads equally. A run whose result is in the file already is not repeated, and results of another setting
are refused; `--fresh` begins anew. The captions and the runs' seeds are not those of quality_over_time.py, which reports.
Prints a table of means with the least and the most, and writes benchmarks/results/ablations.json.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from quality_over_time import judged, runs_before, setting
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from t2vlearn import TextToVideoPipeline
from t2vlearn.recipe import PRESETS, TrainConfig
from t2vlearn.training import LOG, train

RESULT = Path(__file__).parent / "results" / "ablations.json"
TINY = PRESETS["tiny"]
VARIANTS: dict[str, TrainConfig] = {
    "default": TINY,
    "nothing asked": replace(TINY, questions=0.0, words=0.0),
    "pictures beside the words from the start": replace(TINY, words=0.0),
    "single frames at first": replace(TINY, images=0.35),
    "no lesson in circles": replace(TINY, turns=(0.0, 0.0)),
    "video: whole clips from the start": replace(TINY, thinned=0.0),
    "no noise levels of their own": replace(TINY, mixed_levels=0.0),
    "key frames: twice the clips a step": replace(TINY, batch=(32, 32, 4)),
    "four convolutional blocks at each end": replace(TINY, pipeline=replace(TINY.pipeline, convs=4)),
    "no convolutions": replace(TINY, pipeline=replace(TINY.pipeline, convs=0)),
    "noise levels around one half": replace(TINY, pipeline=replace(TINY.pipeline, tau_mean=0.0)),
    "v in place of x_0": replace(TINY, pipeline=replace(TINY.pipeline, prediction="v")),
    "DDPM in place of rectified flow": replace(TINY, pipeline=replace(TINY.pipeline, process="ddpm")),
    "AdamW in place of Muon": replace(TINY, muon_lr=TINY.adamw_lr),  # and all matrices by it, see `run`
}
OWN_SEED = 777
SHOWN = ("subject", "colour", "action", "joint", "frechet")


def run(name: str, seed: int, minutes: float, samples: int, threads: int) -> dict:
    """One variant, trained and judged."""
    torch.set_num_threads(threads)
    adamw = partial(torch.optim.AdamW, betas=(0.9, 0.99), fused=True)
    matrices = patch("t2vlearn.stage_run.Muon", adamw) if name == "AdamW in place of Muon" else nullcontext()
    with tempfile.TemporaryDirectory() as folder, matrices:
        out = train(VARIANTS[name], Path(folder), minutes, seed=OWN_SEED + seed)
        points = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
        steps = {point["stage"]: point["step"] for point in points}  # the last point of each stage stays
        pipe = TextToVideoPipeline.from_pretrained(out)
        return {"variant": name, "seed": seed, "steps": steps} | judged(pipe, samples, OWN_SEED)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4, help="length of each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--samples", type=int, default=100, help="held-out clips of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="these variants")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    options = parser.parse_args()
    threads = max(1, torch.get_num_threads() // options.jobs)
    now = setting(TINY, options.samples, threads) | {"minutes": options.minutes, "jobs": options.jobs}
    runs = runs_before(RESULT, now, options.fresh)
    done = {(entry["variant"], entry["seed"]) for entry in runs}
    wanted = [(name, seed) for seed in range(options.seeds) for name in options.only or VARIANTS]
    wanted = [pair for pair in wanted if pair not in done]
    bars = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with bars, ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as workers:
        bar = bars.add_task("runs", total=len(wanted))
        started = [workers.submit(run, *pair, options.minutes, options.samples, threads) for pair in wanted]
        for ended in as_completed(started):
            if error := ended.exception():  # the others go on
                bars.log(f"a run failed: {error!r}")
                continue
            runs.append(ended.result())
            RESULT.write_text(json.dumps({"setting": now, "runs": runs}, indent=1) + "\n")
            bars.advance(bar)
    print(f"{'':42}" + "".join(f"{key:>24}" for key in SHOWN))
    for name in VARIANTS:
        rows = [entry for entry in runs if entry["variant"] == name]
        columns = [[entry[key] for entry in rows] for key in SHOWN]
        if rows:
            print(f"{name:42}" + "".join(f"{statistics.mean(c):10.3f} ({min(c):.3f}, {max(c):.3f})" for c in columns))


if __name__ == "__main__":
    main()
