"""How do time and memory grow with frames, size, width, depth, batch and steps? `python benchmarks/growth.py [--repeat 5]`

One training step (forward and backward) of the bundled weights' denoiser on whole clips; one thing at a time is halved,
doubled and quadrupled. Memory is what the forward pass keeps for the backward pass, counted exactly, storage by storage. For
steps it is the time of making a clip. Each row ends with exponents: y ~ x^p, fitted by least squares to the logarithms.
Prints a table and writes benchmarks/results/growth.json.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from t2vlearn import TextToVideoPipeline
from t2vlearn.config import PipelineConfig
from t2vlearn.costs import kept_bytes
from t2vlearn.denoiser import SpaceTimeDenoiser
from t2vlearn.recipe import PRESETS
from t2vlearn.text import Text

RESULT = Path(__file__).parent / "results" / "growth.json"
FACTORS = (0.5, 1, 2, 4)
WORDS = 12
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Median time of one call, after one that does not count."""
    times = []
    for i in range(repeat + 1):
        start = time.perf_counter()
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        if i:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def training_step(frames: int, size: int, dim: int, depth: int, batch: int) -> tuple[Callable[[], Tensor], nn.Module]:
    """The forward pass of a denoiser of these measures, and the denoiser; all else as in the bundled weights."""
    c = PipelineConfig()
    heads = dim // (c.dim // c.num_heads)
    width = c.width * dim // c.dim  # the convolutions grow with the Transformer
    net = SpaceTimeDenoiser(c.latent_channels, size // c.down, dim, depth, heads, width=width, convs=c.convs).to(DEVICE)
    x = torch.randn(batch, c.latent_channels, frames, size // c.down, size // c.down, device=DEVICE)
    tau = torch.rand(batch, frames, device=DEVICE)
    times = torch.linspace(0, 1, frames, device=DEVICE).expand(batch, -1)
    mask = torch.ones(batch, WORDS, dtype=torch.bool, device=DEVICE)
    text = Text(torch.randn(batch, WORDS, dim, device=DEVICE), mask, torch.randn(batch, dim, device=DEVICE))
    return lambda: net(x, tau, times, text).square().mean(), net


def exponent(x: list[float], y: list[float]) -> float:
    """p of y ~ x^p, by least squares on the logarithms."""
    return float(statistics.linear_regression([math.log(v) for v in x], [math.log(v) for v in y]).slope)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="steps to time")
    repeat = parser.parse_args().repeat
    torch.set_flush_denormal(True)
    c, batch = PipelineConfig(), PRESETS["tiny"].batch[2]
    usual = {"frames": c.num_frames, "size": c.size, "dim": c.dim, "depth": c.depth, "batch": batch}
    rows: dict[str, dict] = {}
    for name, value in usual.items():
        values = [round(value * factor) for factor in FACTORS]
        steps = [training_step(**usual | {name: v}) for v in values]
        times = [seconds(lambda step=step: step().backward(), repeat) for step, _ in steps]
        memory = [kept_bytes(step, net.parameters()) / 1e6 for step, net in steps]
        rows[name] = {"values": values, "seconds": times, "megabytes": memory}
    pipe = TextToVideoPipeline.from_pretrained().to(DEVICE)
    counts = [5, 10, 20, 40]
    times = [seconds(lambda n=n: pipe("a brown puppy plays in the park", n), repeat) for n in counts]
    rows["steps"] = {"values": counts, "seconds": times}
    for name, row in rows.items():
        row["time_exponent"] = exponent(row["values"], row["seconds"])
        print(f"{name:7}", "  ".join(f"{v:4}: {t:6.3f} s" for v, t in zip(row["values"], row["seconds"], strict=True)),
              f" ~ x^{row['time_exponent']:.2f}")  # fmt: skip
        if "megabytes" in row:
            row["memory_exponent"] = exponent(row["values"], row["megabytes"])
            print(" " * 7, "  ".join(f"{v:4}: {m:5.0f} MB" for v, m in zip(row["values"], row["megabytes"], strict=True)),
                  f" ~ x^{row['memory_exponent']:.2f}")  # fmt: skip
    machine = {"threads": torch.get_num_threads(), "device": str(DEVICE)}
    RESULT.write_text(json.dumps({"network": "bundled weights", "machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
