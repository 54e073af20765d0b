"""A run that is killed fifty times ends with the weights of the run that was left alone, bit for bit.

    python benchmarks/reliability.py                # the same seed kills at the same drawn moments
    python benchmarks/reliability.py --kills 5

A micro model is trained by steps in a process of its own, on one thread, with a checkpoint every few steps. Then again in
another folder, where SIGKILL ends the process at a random moment and `resume` starts the next one, fifty times. Moments of
three kinds take turns: at any time from the start of the process, some time after its first step, and while a checkpoint is
being written. The run that is left alone after the last kill is stopped at its last step, so that the two checkpoints can be
compared in full precision: weights, averages, both optimisers. Then it ends, and the weights files and logs are compared.

Prints what was hit, and writes benchmarks/results/reliability.json. Ends with exit code 1 if anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import Progress as Bars
from safetensors.torch import load_file

from t2vlearn import checkpoint
from t2vlearn.pipeline import PipelineConfig
from t2vlearn.recipe import PRESETS
from t2vlearn.run_log import LOG, Progress
from t2vlearn.storage import WORKSHOP
from t2vlearn.training import Interrupted, train

RESULT = Path(__file__).parent / "results" / "reliability.json"
SMALL = PipelineConfig(
    size=16, dim=16, depth=1, num_heads=2, width=16, convs=1, text_depth=1, codec_width=8, latent_channels=4
)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(4, 2, 2), share=(0.4, 0.3, 0.3), sheet_every=0.5)
KINDS = ("any time", "between steps", "in a checkpoint")


def work(folder: Path, steps: int, every: float, end: bool) -> None:
    """What a process does: train, or go on, and say so after each step. Without `end`, stop at the last step."""

    def progress(event: Progress) -> None:
        print(event.step, flush=True)
        if event.fraction >= 1 and not end:
            os.kill(os.getpid(), signal.SIGTERM)

    resume = checkpoint.exists(folder)
    try:
        train(MICRO, folder, steps=steps, resume=resume, progress=progress, checkpoint_minutes=every / 60)
    except Interrupted as stop:
        print(stop, file=sys.stderr)


def start(folder: Path, options: argparse.Namespace, *more: str) -> subprocess.Popen:
    """A process that trains in `folder`, or goes on there."""
    command = [sys.executable, __file__, "--work", str(folder), "--steps", str(options.steps)]
    command += ["--every", str(options.every), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill(process: subprocess.Popen, folder: Path, kind: str, draw: random.Random, start_up: float) -> bool:
    """Wait for a moment of a kind, and kill; False if the process had ended before."""
    if kind == "any time":
        time.sleep(draw.uniform(0, 1.5 * start_up))
    else:
        process.stdout.readline()  # the first step is done
        time.sleep(draw.uniform(0, 0.6))
    if kind == "in a checkpoint":
        wait = draw.uniform(0, 0.006)
        while process.poll() is None and not (folder / WORKSHOP).exists():
            pass  # it is there for a few dozen milliseconds only
        time.sleep(wait)
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    return True


def differences(one: Path, other: Path) -> list[str]:
    """Names of tensors in two files that differ in any bit."""
    a, b = load_file(one), load_file(other)
    return sorted(a.keys() ^ b.keys()) + [name for name in a.keys() & b.keys() if not torch.equal(a[name], b[name])]


def lines(folder: Path) -> list[dict]:
    """A log without what the clock says."""
    clock = ("seconds", "clips_per_second", "seconds_left")
    rows = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in clock} for row in rows]


def main() -> None:
    """Kill, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how often the run is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=1000, help="of the run, over its three stages")
    parser.add_argument("--every", type=float, default=0.3, help="seconds between checkpoints")
    parser.add_argument("--json", type=Path, default=RESULT, help="where the result is written")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--end", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.steps, options.every, options.end)
        return
    draw, hits, found = random.Random(options.seed), Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder, Bars() as bars:
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        bar, begun = bars.add_task("left alone", total=None), time.monotonic()
        process = start(alone, options)
        process.stdout.readline()
        start_up = time.monotonic() - begun
        process.communicate()
        straight = time.monotonic() - begun
        bars.update(bar, description="killed", total=options.kills)
        for number in range(options.kills):
            kind = KINDS[number % len(KINDS)]
            begun, process = time.time(), start(killed, options)  # the clock of the files
            if not kill(process, killed, kind, draw, start_up):
                sys.exit(f"the run ended after {number} kills: give it more --steps")
            hits[kind] += 1
            left = [path for path in (killed / WORKSHOP).glob("*") if path.stat().st_mtime > begun]
            found["a checkpoint half written"] += any(path.name.startswith(".tmp") for path in left)
            found["a checkpoint without its name yet"] += any(path.name == checkpoint.LATEST for path in left)
            found["between two renamings"] += checkpoint.exists(killed) and not (killed / checkpoint.LATEST).exists()
            found["a sheet half written"] += any(killed.rglob(".unfinished-*"))
            bars.update(bar, advance=1)
        start(killed, options).communicate()
        tensors = differences(alone / checkpoint.LATEST, killed / checkpoint.LATEST)
        for run in (alone, killed):
            start(run, options, "--end").communicate()
        same_file = (alone / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
        same_log = lines(alone) == lines(killed)
        listings = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (alone, killed)]
    result = {
        "kills": dict(hits), "left behind": dict(found), "steps": options.steps, "seed": options.seed,
        "seconds alone": round(straight, 1), "tensors that differ": tensors, "same weights file": same_file,
        "same log but for the clock": same_log, "same files": listings[0] == listings[1],
    }  # fmt: skip
    for name, value in result.items():
        print(f"{name:28}  {value}")
    for name in sorted(set(listings[0]) ^ set(listings[1])):
        print(f"only in one folder            {name}")
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(tensors) or not (same_file and same_log and result["same files"]))


if __name__ == "__main__":
    main()
