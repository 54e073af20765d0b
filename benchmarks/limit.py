"""How much of this machine's arithmetic do training and sampling use? `python benchmarks/limit.py [--preset tiny]`

tiny stands for its batches and the bundled weights' networks, which chapter 13 is about. FLOPs are counted operator by
operator (a product of n x m by m x k is 2 n m k; a convolution counts as the product that it is, however it is computed). A
whole step is batch, forward and backward, and the optimisers. The bound is the rate of a square matrix product, measured in
the same run. Prints a table and writes it beside those of other machines into benchmarks/results/limit.json.
"""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from t2vlearn import TextToVideoPipeline
from t2vlearn.config import PipelineConfig
from t2vlearn.costs import count_flops
from t2vlearn.optim import Muon, split_parameters
from t2vlearn.recipe import PRESETS
from t2vlearn.stages import TASKS

RESULT = Path(__file__).parent / "results" / "limit.json"
SIDE = 2048


def machine_name() -> str:
    """The processor's (or the card's) name, and which vector instructions torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return f"{found[1] if found else platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Median time of one call, after two that do not count."""
    times = []
    for i in range(repeat + 2):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if i >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny", choices=PRESETS, help="whose networks and batches")
    parser.add_argument("--repeat", type=int, default=10, help="steps to time")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = PRESETS[options.preset]
    sizes = PipelineConfig() if options.preset == "tiny" else config.pipeline
    pipe = TextToVideoPipeline(**asdict(sizes)).to(device)

    a = torch.randn(SIDE, SIDE, device=device)
    bound = 2 * SIDE**3 / seconds(lambda: a @ a, options.repeat)
    rows: dict[str, dict[str, float]] = {}

    def measure(name: str, clips: int, work: Callable[[], object], counted: Callable[[], object] | None = None) -> None:
        spent, done = seconds(work, options.repeat), count_flops(counted or work)
        rows[name] = {
            "gflop_a_clip": done / clips / 1e9,
            "clips_a_second": clips / spent,
            "share_of_bound": done / spent / bound,
        }

    for stage, kind in TASKS.items():
        task = kind(pipe, config, 0).train()
        batch = task.batch(0, device)
        matrices, others = split_parameters(task, task.for_adamw)
        optimisers = [Muon(matrices), torch.optim.AdamW(others, fused=True)]

        def learn(task=task, batch=batch) -> None:
            task(*batch).backward()

        def step(task=task, learn=learn, optimisers=optimisers) -> None:
            task.batch(0, device)
            learn()
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()

        name = f"training, {stage}"
        measure(f"{name}: forward and backward", task.batch_size, learn)
        measure(f"{name}: whole step", task.batch_size, step, learn)
        task.eval()
    measure("sampling a clip", 1, lambda: pipe("a brown puppy plays in the park", 20))

    print(f"{SIDE}^3 product: {bound / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads")
    for name, row in rows.items():
        print(
            f"  {name:44} {row['gflop_a_clip']:7.3f} GFLOP  {row['clips_a_second']:7.1f} a second  "
            f"{row['share_of_bound']:6.1%} of the bound"
        )
    machine = {"preset": options.preset, "threads": torch.get_num_threads(), "gflops_bound": bound / 1e9, "rows": rows}
    machines = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    name = machine_name() + (f", {options.preset}" if options.preset != "tiny" else "")
    RESULT.write_text(json.dumps(machines | {name: machine}, indent=1) + "\n")


if __name__ == "__main__":
    main()
