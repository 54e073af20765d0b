"""How the bundled weights were made, step by step. Each step can be repeated alone and picks up what the one before left.

    python benchmarks/recipes/bundled.py train      # six hours of two cores; the first three runs of nine can resume
    python benchmarks/recipes/bundled.py judge      # the judge, on real clips only; left out, the bundled one stays
    python benchmarks/recipes/bundled.py score      # 1,000 clips of each split (present weights: 400 to 1,000)
    python benchmarks/recipes/bundled.py install    # copies weights with their scores into t2vlearn/weights

Machine, minutes and scores of the run that made the present weights: `t2vlearn info`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import circles
import pairs
import torch

from t2vlearn import checkpoint
from t2vlearn import judge as judging
from t2vlearn import pipeline as pipelines
from t2vlearn.evaluation import EVAL_SPLITS, evaluate
from t2vlearn.judge import Judge, train_judge
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.storage import digest_of
from t2vlearn.training import LOG, PRESETS, Progress, train

FIRST, LONG, SHARP, TURNED, PAIRED, FILLED, BOTH, RUN = (
    Path("runs") / name
    for name in ("first", "bundled", "polished", "turned", "paired", "between", "both-turned", "between-again")
)
RESULTS = Path("benchmarks/results")
MINUTES, LONGER, LAST = 58, 70, 7
# What the preset was at the time: four convolutional blocks at each end, no questions, no single frames and no thinned clips
# at first, larger steps, twice the clips in each, and less of the codec.
FIRST_RECIPE = replace(
    PRESETS["tiny"], pipeline=PipelineConfig(), questions=0.0, words=0.0, images=0.0, turns=(0.0, 0.0), thinned=0.0,
    batch=(64, 32, 8), muon_lr=(3e-3,) * 3, adamw_lr=(2e-3,) * 3, share=(0.1, 0.62, 0.28),
)  # fmt: skip
# The second run keeps the codec. What the first lacked was the direction of motion: left for right, clockwise for counter-
# clockwise. That is settled where the frames are almost nothing but noise; any cleaner, and they show it themselves. So:
# higher noise levels, and fewer clips in which one frame is cleaner than the others.
SECOND = replace(
    FIRST_RECIPE, pipeline=PipelineConfig(tau_mean=2.0), share=(0.0, 0.72, 0.28), muon_lr=(2e-3,) * 3, adamw_lr=(1.4e-3,) * 3,
    mixed_levels=0.25,
)  # fmt: skip
# The third sharpens the decoder; the latents stay as they are. `circles` and `pairs` are about key frames and words,
# and twice about what lies between key frames: the second time because the words' vectors had moved.
THIRD = replace(SECOND, share=(1.0, 0.0, 0.0))
JUDGE_STEPS, SAMPLES = 2000, 1000
# With 3 the big ones and the jumps come too often where a caption leaves them open; less pull serves these weights
# as well, but for two actors (benchmarks/LOG.md, 2026-11-29).
GUIDANCE = 2.0


def show(now: Progress) -> None:
    if now.step % 100 == 0:
        print(f"{now.stage} step {now.step}: loss {now.loss:.3f}, {now.seconds_left / 60:.0f} min left", flush=True)


def train_model() -> None:
    def run(config, out, minutes, seed, weights=None):
        if not (out / "model.safetensors").exists():
            train(config, out, minutes, None, checkpoint.exists(out), seed, show, weights=weights)

    def learn(what, start, out):
        def say(part, step, loss):
            if step % 100 == 0:
                print(f"{out.name}, part {part + 1}, step {step}: loss {loss:.3f}", flush=True)

        if not (out / "model.safetensors").exists():
            pipe = TextToVideoPipeline.from_pretrained(start)
            what(pipe, say)
            pipe.config.guidance_scale = GUIDANCE
            pipe.save_pretrained(out)

    run(FIRST_RECIPE, FIRST, MINUTES, seed=0)
    run(SECOND, LONG, LONGER, seed=1, weights=FIRST)
    run(THIRD, SHARP, LAST, seed=2, weights=LONG)
    learn(circles.learn_ways, SHARP, TURNED)
    learn(pairs.learn_whose, TURNED, PAIRED)
    learn(pairs.learn_between, PAIRED, FILLED)
    learn(pairs.learn_turns, FILLED, BOTH)
    learn(pairs.learn_between_again, BOTH, RUN)


def train_the_judge() -> None:
    codec = TextToVideoPipeline.from_pretrained(LONG).visual_encoder.codec
    start = time.monotonic()
    judge = train_judge(
        codec, JUDGE_STEPS, on_step=lambda i, loss, _: i % 100 or print(f"judge {i}: {loss:.3f}", flush=True)
    )
    judge.save_pretrained(
        LONG / "judge", {"steps": JUDGE_STEPS, "seed": 0, "minutes": round((time.monotonic() - start) / 60)}
    )


def score() -> None:
    pipe = TextToVideoPipeline.from_pretrained(RUN)
    judge = Judge.from_pretrained(LONG / "judge" if (LONG / "judge").exists() else None)
    for split in EVAL_SPLITS:
        report = evaluate(pipe, split, SAMPLES, judge=judge)
        scored = report.as_dict() | {"weights": digest_of(RUN)}
        (RUN / f"score-{split}.json").write_text(json.dumps(scored, indent=1))
        print(split, *(f"{name}: {value}" for name, value in report.table()), sep="\n  ", flush=True)


def install() -> None:
    """Weights into the package; scores and the thinned logs of the runs into benchmarks/results, where the book reads them."""
    pipe = TextToVideoPipeline.from_pretrained(RUN)
    RESULTS.mkdir(exist_ok=True)
    weights = digest_of(RUN)
    for split in EVAL_SPLITS:
        if (file := RUN / f"score-{split}.json").exists():
            report = json.loads(file.read_text())
            if report["weights"] != weights:
                sys.exit(f"{file} is of other weights: score them again")
            pipe.info[f"joint accuracy, {split}"] = round(report["model"]["joint"]["accuracy"], 3)
            pipe.info[f"clips judged, {split}"] = report["samples"]
            (RESULTS / file.name).write_text(json.dumps(report, indent=1) + "\n")
    pipe.info["recipe"] = "benchmarks/recipes/bundled.py"
    pipe.save_pretrained(pipelines.BUNDLED)
    runs = [{"minutes": minutes, "log": thinned(out / LOG)} for out, minutes in ((FIRST, MINUTES), (LONG, LONGER))]
    (RESULTS / "bundled-runs.json").write_text(json.dumps(runs))
    folder = judging.BUNDLED
    folder.mkdir(parents=True, exist_ok=True)
    for file in (LONG / "judge").glob("*"):
        (folder / file.name).write_bytes(file.read_bytes())


def thinned(log: Path, seconds: float = 15.0) -> list[dict]:
    """A point every so many seconds of each stage."""
    kept: list[dict] = []
    for line in log.read_text().splitlines():
        point = json.loads(line)
        if not kept or kept[-1]["stage"] != point["stage"] or point["seconds"] - kept[-1]["seconds"] >= seconds:
            kept.append({key: point[key] for key in ("stage", "step", "loss", "seconds")})
    return kept


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    steps = {"train": train_model, "judge": train_the_judge, "score": score, "install": install}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    steps[parser.parse_args().step]()
