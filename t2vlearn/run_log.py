"""What a run says of itself: to a callback after each step; now and then to a file and to a tracker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from t2vlearn.errors import UserError

LOG, TRACKED = "log.jsonl", "tracked"
EVERY = 20  # steps between two lines
#: What a run does besides training where it has videos of its own.
PREPARATIONS = ("reading videos", "encoding clips")
TRACKERS = tuple(str(kind) for kind in LoggerType if kind != LoggerType.ALL)


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
        stage: one of `STAGES`, or one of `PREPARATIONS`, which count files or clips and take none of the run's time.
        fraction: of the whole run, or of the preparation.
        step: of the stage; files or clips that are done.
        loss: its running mean; NaN before the first step that counts.
        clips_per_second: of this stage (frames in the codec's).
        seconds_left: of the whole run, or of the preparation.
        skipped: steps of the stage whose gradient was not a number.
    """

    stage: str
    fraction: float
    step: int
    loss: float
    clips_per_second: float
    seconds_left: float
    skipped: int


def check_tracker(name: str | None) -> None:
    """Whether `accelerate` knows a tracker, and the tracker is installed.

    Raises:
        UserError: if not.
    """
    if name is None or name in map(str, get_available_trackers()):
        return
    if name not in TRACKERS:
        raise UserError(f"there is no tracker {name!r}: choose from {', '.join(TRACKERS)}")
    raise UserError(f"the tracker {name!r} is not installed: pip install {name}, or leave --tracker out")


class RunLog:
    """The lines of `log.jsonl`, the tracker's curves, and whoever listens.

    Args:
        folder: the run's; a tracker that writes files gets a folder of its own in it.
        accelerator: it was made with `log_with`, if there is a tracker.
        listener: called with each event.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, listener: Callable[[Progress], None] | None):
        self.path, self.accelerator, self.listener = folder / LOG, accelerator, listener
        accelerator.init_trackers(TRACKED)

    def tell(self, event: Progress) -> None:
        """For the listener alone."""
        if self.listener is not None:
            self.listener(event)

    def report(self, event: Progress, seconds: float) -> None:
        """One step is done, `seconds` after the stage began."""
        self.tell(event)
        if event.step % EVERY == 0:
            with self.path.open("a") as log:
                log.write(json.dumps(event._asdict() | {"seconds": round(seconds, 2)}) + "\n")
            curves = ("loss", "clips_per_second", "skipped")
            self.accelerator.log({f"{event.stage}/{name}": getattr(event, name) for name in curves}, step=event.step)

    def length(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Take out what a killed run wrote after its last checkpoint: the resumed one writes it again."""
        os.truncate(self.path, min(length, self.length()))

    def close(self) -> None:
        """Let the tracker write what it still holds."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
