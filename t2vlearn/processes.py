"""Several processes on one machine that work together, one for each GPU, or some on the CPU: data-parallel training.

`accelerate launch` does the same, over several machines too. This is the short way: an option, and errors in one line.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait

import torch

from t2vlearn.errors import UserError

GRACE = 10.0  # seconds that the others have to end by themselves when one has failed


class Died(UserError):
    """One of the processes was killed, or ended without a word."""


def stops() -> list[signal.Signals]:
    """What stops a run: Ctrl-C, a polite kill, and a closed terminal, unless `nohup` has said to ignore that."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows has none
        numbers.append(signal.SIGHUP)
    return numbers


def run(function: Callable, processes: int, *args) -> None:
    """Call function(*args) in new processes that `accelerate` finds connected: gloo on a CPU, NCCL with a GPU each.

    Ctrl-C, SIGTERM and a closed terminal are handed on to all, and so is the death of the process that called.

    Args:
        function: of a module, so that a new process can import it; so is what `args` are made of.
        processes: how many.

    Raises:
        UserError: for fewer than one process or more than there are GPUs.
        Died: if one of them dies; the others are ended.
        Exception: what `function` raises, as the first process that failed reports it.
    """
    most = torch.cuda.device_count() if torch.cuda.is_available() else 1024
    if not 1 <= processes <= most:
        raise UserError(f"{processes} processes cannot work here: choose from 1 to {most}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe(duplex=False) for _ in range(processes)]
    places = [(rank, processes, port) for rank in range(processes)]
    workers = [
        context.Process(target=_work, args=(function, args, place, end[1]), daemon=True)
        for place, end in zip(places, ends, strict=True)
    ]
    told = []

    def hand_on(number, _):
        told.append(number)
        for worker in workers:
            worker.terminate()

    # A terminal's Ctrl-C reaches the workers too: until they train, they heed what is handed on, and that alone.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in stops()}
    try:
        for worker in workers:
            worker.start()
        for _, end in ends:
            end.close()  # it is the worker's: else a report of one that was killed half-way would be waited for
        for number in before:
            signal.signal(number, hand_on)
        failed, reports = _wait(workers, [end for end, _ in ends])
    finally:
        for worker in workers:
            worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    silent = [rank for rank in failed if reports[rank] is None]
    if silent and not told:
        raise Died(f"process {silent[0] + 1} of {processes} died ({_cause(workers[silent[0]].exitcode)})")
    # What one of them did on purpose tells more than how the others missed it.
    told_of = [reports[rank] for rank in [*failed, *range(processes)] if reports[rank] is not None]
    if told_of:
        raise sorted(told_of, key=lambda report: not isinstance(report, UserError | KeyboardInterrupt))[0]
    if failed:
        raise KeyboardInterrupt  # told to stop before they could listen


def _wait(workers: list, ends: list) -> tuple[list[int], list[BaseException | None]]:
    """Wait until all have ended, or one has failed and the others had their time.

    Returns:
        The ranks of those that failed, the first one first, and what each worker reported. A report is read as it comes: a
        long one does not fit into the pipe, and its worker would wait for ever.
    """
    failed: list[int] = []
    reports: list[BaseException | None] = [None] * len(workers)
    alive, until = {worker.sentinel: rank for rank, worker in enumerate(workers)}, None
    unread = {end: rank for rank, end in enumerate(ends)}
    while alive:
        ready = wait([*alive, *unread], None if until is None else max(0.0, until - time.monotonic()))
        if not ready:
            break
        for end, rank in [(end, rank) for end, rank in unread.items() if end in ready]:
            with suppress(EOFError, OSError):  # it ended without a word
                reports[rank] = end.recv()
            del unread[end]
        ranks = [alive.pop(sentinel) for sentinel in ready if sentinel in alive]
        for rank in ranks:
            workers[rank].join()
        failed += [rank for rank in ranks if workers[rank].exitcode]
        until = until or (time.monotonic() + GRACE if failed else None)
    for end, rank in unread.items():
        with suppress(EOFError, OSError):
            if end.poll():
                reports[rank] = end.recv()
    return failed, reports


def _work(function: Callable, args: tuple, place: tuple[int, int, int], end) -> None:
    """What a new process runs. An error is sent to the parent; being stopped is no failure."""
    rank, processes, port = place
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_stop_with_the_parent, daemon=True).start()
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["ACCELERATE_USE_CPU"] = str(not torch.cuda.is_available())
    threads = max(1, torch.get_num_threads() // processes)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    try:
        function(*args)
    except BaseException as error:
        if not isinstance(error, UserError | KeyboardInterrupt):
            error.add_note(f"In process {rank + 1} of {processes}:\n{traceback.format_exc()}")
        with suppress(OSError):  # nobody is there to read it
            end.send(error)
        if not isinstance(error, KeyboardInterrupt):
            raise SystemExit(1) from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _stop_with_the_parent() -> None:
    """Whoever kills the one process that they see means all of them: each writes its checkpoint and ends."""
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os.kill(os.getpid(), signal.SIGTERM)


def _cause(exitcode: int | None) -> str:
    return signal.Signals(-exitcode).name if exitcode and exitcode < 0 else f"exit code {exitcode}"
