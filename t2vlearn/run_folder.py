"""One run a folder: a lock that dies with its process, so that nothing has to be tidied up after `kill -9`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import reduce
from filelock import FileLock, Timeout

from t2vlearn.errors import UserError

LOCK = ".lock"


@contextmanager
def held(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold `folder` for one run. All processes of the run enter; the first one has the lock, and all hear if it has not.

    Raises:
        UserError: in each process, if another run holds the folder.
    """
    lock = FileLock(folder / LOCK)
    taken = torch.zeros((), device=accelerator.device)
    if accelerator.is_main_process:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            taken += 1
    if float(reduce(taken, "sum")):
        raise UserError(f"another run is training in {folder}: wait for its end, or choose another folder with --out")
    try:
        yield
    finally:
        if accelerator.is_main_process:
            with suppress(OSError):  # Windows removes nothing that is open, but its locks go by themselves
                (folder / LOCK).unlink()
            lock.release()
