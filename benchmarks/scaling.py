"""How does the loss fall with compute, and which size is best at each? `python benchmarks/scaling.py [--fresh]`

Six networks of one shape, the text encoder and key-frame denoiser of stage 2, from 50 thousand to 3 million parameters,
each trained from nothing on the bundled codec's latents, 16 clips a step, every clip new. The learning rate stays constant
after its warm-up; what is judged is the running average of the weights, which stands in for a cool-down (Hägele et al. 2024,
section 4.3), so one run gives all of a size's points. Muon's rate falls with the square root of the width, which keeps the
size of a layer's change (Yang et al. 2023, "A Spectral Condition for Feature Learning"); AdamW's is the same for all.

The loss: that of training on 96 clips of another seed, at four fixed noise levels, with fixed noise. Compute: FLOPs of
forward and backward (`t2vlearn.costs.count_flops`), without those of the optimiser. Every size gets one
to two and a half TFLOP: about a quarter of an hour of one core in all.

A size that is in the file already is not trained again, and refused if its network is another now; `--fresh` begins anew.
Prints a table and writes benchmarks/results/scaling.json, from which `t2vlearn.costs.fit_power_law` makes the law.
"""

import argparse
import functools
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import NormalDist

import torch
from accelerate import Accelerator
from rich.progress import Progress
from torch import Tensor

from t2vlearn import TextToVideoPipeline
from t2vlearn.costs import count_flops
from t2vlearn.denoiser import training_loss
from t2vlearn.pipeline import PipelineConfig
from t2vlearn.recipe import TrainConfig
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import KeyframeTask
from t2vlearn.text import Text

RESULT = Path(__file__).parent / "results" / "scaling.json"
#: Steps of each width.
STEPS = {16: 1920, 32: 1080, 48: 544, 64: 170, 96: 110, 128: 100}
FIRST = 40  # steps before the first point: the warm-up is over, nearly
DEVICE = torch.device("cpu")


def recipe(dim: int, words: list[str]) -> TrainConfig:
    """Stage 2, `dim` wide, at rates of its own."""
    pipeline = PipelineConfig(dim=dim, num_heads=dim // 16, width=dim // 2, words=words)
    lr = 2.4e-3 * (128 / dim) ** 0.5
    return TrainConfig(pipeline=pipeline, muon_lr=(lr,) * 3, adamw_lr=(1e-3,) * 3, images=0.0)


class HeldOut:
    """Fixed clips, captions, noise and noise levels: the loss that every network is asked for."""

    def __init__(self, pipe: TextToVideoPipeline, config: TrainConfig, batches: int = 6):
        task = KeyframeTask(pipe, replace(config, caption_dropout=0.0), seed=1)
        self.batches = [task.batch(i, DEVICE) for i in range(batches)]
        points = [NormalDist().inv_cdf((i + 0.5) / 4) for i in range(4)]  # the middle of each quarter of the levels
        self.levels = torch.sigmoid(torch.tensor([config.pipeline.tau_mean + z for z in points]))

    @torch.no_grad()
    def loss(self, task: KeyframeTask) -> float:
        """Mean over all clips and levels."""
        losses: list[Tensor] = []
        for latents, ids, mask, known, tau, noise, times in self.batches:
            tokens, pooled = task.text_encoder(ids, mask)
            text, nothing = Text(tokens, mask, pooled), torch.zeros_like(known)
            for level in self.levels:
                tau = torch.full_like(tau, float(level))
                loss = training_loss(task.denoiser, task.diffusion, latents, times, text, nothing, tau, noise)
                losses.append(loss)
        return float(torch.stack(losses).mean())


def points(last: int) -> list[int]:
    """Steps at which a run is asked: from the last back by factors of the square root of 2."""
    found = [last]
    while (step := round(last / 2 ** (len(found) / 2))) >= FIRST:
        found.append(step)
    return found[::-1]


def learner(dim: int, words: list[str]) -> KeyframeTask:
    """Stage 2, `dim` wide, from nothing."""
    config = recipe(dim, words)
    return KeyframeTask(TextToVideoPipeline(**asdict(config.pipeline)), config, seed=0)


def parameters(task: KeyframeTask) -> int:
    """How many numbers it learns."""
    return sum(p.numel() for p in task.parameters())


def run(dim: int, steps: int, batch, held_out: HeldOut, words: list[str], bars: Progress) -> dict:
    """Train one size; its row of the table."""
    torch.manual_seed(0)
    task = learner(dim, words)
    task.batch = lambda step, device, fraction: batch(step)  # type: ignore[method-assign]
    stage = StageRun(task, task.config, Accelerator(mixed_precision="no"))
    row: dict = {"dim": dim, "parameters": parameters(task), "steps": [], "loss": []}
    bar, asked, begin = bars.add_task(f"width {dim}", total=steps), points(steps), time.process_time()
    for step in range(1, steps + 1):
        stage.advance(0.5)  # a schedule that is half over: a constant learning rate after the warm-up
        bars.advance(bar)
        if step in asked:
            with stage.averaged_weights():
                row["loss"].append(held_out.loss(task))
            row["steps"].append(step)
    return row | {"cpu_seconds": time.process_time() - begin}


def main() -> None:
    """Train what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    pipe = TextToVideoPipeline.from_pretrained()
    words = pipe.config.words
    config = recipe(128, words)
    maker, clips = KeyframeTask(pipe, config, seed=0), config.batch[1]
    batch = functools.cache(lambda step: maker.batch(step, DEVICE))  # every size sees the same clips, made once
    held_out = HeldOut(pipe, config)
    known = (
        {} if options.fresh or not RESULT.exists() else {r["dim"]: r for r in json.loads(RESULT.read_text())["rows"]}
    )
    with Progress() as bars:
        for dim, steps in STEPS.items():
            task = learner(dim, words)
            if dim not in known:
                known[dim] = run(dim, steps, batch, held_out, words, bars)
            elif known[dim]["parameters"] != parameters(task):
                sys.exit(f"{RESULT} has another network of width {dim}: --fresh begins anew")
            flops = count_flops(lambda task=task: task(*batch(0)).backward())
            known[dim] |= {"flops_a_step": flops, "flops": [step * flops for step in known[dim]["steps"]]}
            settings = {"batch": clips, "tokens_a_clip": 64, "held_out_clips": clips * len(held_out.batches)}
            result = settings | {"rows": [known[dim] for dim in STEPS if dim in known]}
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for row in known.values():
        line = "  ".join(f"{c / 1e12:.2f}: {loss:.3f}" for c, loss in zip(row["flops"], row["loss"], strict=True))
        print(f"{row['parameters'] / 1e6:5.2f} M  {row['cpu_seconds']:4.0f} s  TFLOP: loss  {line}")


if __name__ == "__main__":
    main()
