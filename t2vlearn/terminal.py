"""What a command shows: lines, notes, live bars and tables. Rich is imported when it shows something: help comes at once."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


def is_first() -> bool:
    """Whether this process is alone, or the one of several that reports: `accelerate` numbers them by this variable."""
    return int(os.environ.get("RANK", 0)) == 0


def say(line: str, colour: str) -> None:
    """One line on stderr, from the first process. A terminal that has been closed cannot show it."""
    if is_first():
        with suppress(OSError):
            typer.secho(" ".join(line.split()), fg=colour, err=True)


def console(error: bool = True) -> Console:
    """Rich's console on stderr, or on stdout."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Warnings become lines that start with "Note:"."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(f"Note: {message}", typer.colors.YELLOW)
        yield


@contextmanager
def bars(lines: int = 0) -> Iterator[Callable]:
    """Gives a function of (stage, done, total, facts) that shows a live bar a stage; the facts are the time left by default.

    A log cannot show a bar: there, it prints as many lines a stage.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    screen = console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[facts]}"))
    progress = Progress(*columns, console=screen)
    tasks: dict[str, TaskID] = {}
    printed = 0
    since = time.monotonic()

    def show(stage: str, done: float, total: float, facts: str | None = None) -> None:
        nonlocal printed, since
        if stage not in tasks:
            tasks[stage], printed = progress.add_task(stage, total=total, facts=""), 0
        if facts is None:
            facts = f"{duration((time.monotonic() - since) * (total - done) / max(done, 1))} left"
        progress.update(tasks[stage], completed=done, facts=facts)
        if screen.is_terminal:
            progress.start()
        elif int(lines * done / total) > printed:
            printed = int(lines * done / total)
            typer.echo(f"{stage} {done / total:4.0%}  {facts}", err=True)
        if done == total:
            since = time.monotonic()  # the next stage begins

    try:
        yield show
    finally:
        if screen.is_terminal:
            with suppress(OSError):
                progress.stop()


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {seconds:02} s"


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """Names and values on stdout."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    console(error=False).print(table)
