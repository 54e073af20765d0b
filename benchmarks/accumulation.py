"""What it saves to take a batch in parts, one after the other, and why the codec's batch stays whole.

    python benchmarks/accumulation.py
    python benchmarks/accumulation.py --preset base     # some minutes on one core

Memory: one step of each stage in a process of its own; how much the process grew at most, in MB, without what one optimiser
step on a batch of the same size already shows in the weights. Codec: the gradient from parts whose latents are normalised by
the statistics of each part, against the gradient from the whole batch, as |g' - g| / |g|; beside it the same between the whole
batches of two steps, which is what chance makes of it. At the first weights and after some steps.

Prints two tables, and writes benchmarks/results/accumulation.json.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.recipe import PRESETS, STAGES
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import TASKS

RESULT = Path(__file__).parent / "results" / "accumulation.json"
CPU = torch.device("cpu")
PARTS = (1, 2, 4)


def stage_run(preset: str, stage: str, parts: int) -> StageRun:
    """A stage at its first step."""
    torch.manual_seed(0)
    config = PRESETS[preset]
    pipe = TextToVideoPipeline(**vars(config.pipeline))
    return StageRun(TASKS[stage](pipe, config, 0), config, Accelerator(cpu=True), parts)


def growth(preset: str, stage: str, parts: int) -> float:
    """MB that a process grows by in one step."""
    run = stage_run(preset, stage, parts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run.advance(1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def gradient(run: StageRun, step: int, parts: int) -> Tensor:
    """Of one batch in parts; each part's latents are normalised by its own statistics."""
    run.task.zero_grad()
    for i in range(parts):
        run.task.part = (i, parts)
        (run.task(*run.task.batch(step, CPU)) / parts).backward()
    return torch.cat([p.grad.flatten() for p in run.task.parameters() if p.grad is not None])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", choices=PRESETS, help="whose memory is measured")
    parser.add_argument(
        "--steps", type=int, default=100, help="of the preset tiny's codec, before its second gradients"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(growth(options.preset, options.one[0], int(options.one[1])))
        return
    memory: dict[str, dict[int, float]] = {}
    print(f"{options.preset}: MB more at most, in parts of  " + "".join(f"{parts:>8}" for parts in PARTS))
    for stage in STAGES:
        command = [sys.executable, __file__, "--preset", options.preset, "--one", stage]
        memory[stage] = {}
        for parts in PARTS if stage != "codec" else (1,):
            done = subprocess.run([*command, str(parts)], capture_output=True, text=True, check=True)
            memory[stage][parts] = round(float(done.stdout), 1)
        print(f"{stage:40}" + "".join(f"{value:8.0f}" for value in memory[stage].values()))
    run, gradients = stage_run("tiny", "codec", 1), {}
    print("tiny's codec: |g' - g| / |g|     2 parts   4 parts   8 parts   another batch")
    for steps in (0, options.steps):
        while run.step < steps:
            run.advance(0.0)
        whole = gradient(run, run.step, 1)
        others = [gradient(run, run.step, parts) for parts in (2, 4, 8)] + [gradient(run, run.step + 1, 1)]
        gradients[steps] = [round(float((g - whole).norm() / whole.norm()), 4) for g in others]
        print(f"after {steps:4} steps               " + "".join(f"{value:10.3f}" for value in gradients[steps]))
    result = {"preset": options.preset, "memory": memory, "gradients": gradients}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
