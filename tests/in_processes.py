"""What the tests run in several processes: a new process has to import it."""

import json
import os
import signal
import time
from pathlib import Path

from t2vlearn.errors import UserError
from t2vlearn.recipe import STAGES
from t2vlearn.training import train


def train_until(
    config, out: Path, steps: int, stop: tuple[str, int], accumulate: int = 1, data: Path | None = None
) -> None:
    """Train; keep the losses in a file; press Ctrl-C, in the first process only, after a step of a stage."""
    losses = out.with_suffix(".json")
    seen = []

    def progress(event):
        if event.stage in STAGES:
            seen.append((event.stage, event.step, event.loss))
        losses.write_text(json.dumps(seen))
        if (event.stage, event.step) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    train(config, out, steps=steps, progress=progress, accumulate=accumulate, data=data)


def lose_one(config, out: Path) -> None:
    """Train for ever; the second process is killed once there is a checkpoint."""
    if os.environ["RANK"] == "1":
        from t2vlearn import training

        whole = training._Run._total

        def total(self, value):
            if (out / "checkpoint.safetensors").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, value)

        training._Run._total = total
    train(config, out, steps=100_000, checkpoint_minutes=0)


def fail_at_length() -> None:
    """More words than fit into a pipe."""
    raise UserError("word " * 40_000)


def fail_after_the_other() -> None:
    """The second process fails at once, the first one a second later, and on purpose."""
    if os.environ["RANK"] == "1":
        raise RuntimeError("the connection is closed")
    time.sleep(1)
    raise UserError("no videos")
