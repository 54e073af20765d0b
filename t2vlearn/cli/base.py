"""What all commands share: the app that they join, how they end on an error, and the options that several have."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from t2vlearn import terminal
from t2vlearn.errors import UserError, memory_advice

if TYPE_CHECKING:
    from t2vlearn.pipeline import TextToVideoPipeline


class _Commands(TyperGroup):
    """Ends any command on a mistake of the user with one line and exit code 2, and on Ctrl-C with exit code 130."""

    def invoke(self, ctx):
        try:
            with memory_advice("end other programs, or, of several prompts, give fewer at once"):
                return super().invoke(ctx)
        except UserError as error:
            terminal.say(f"Error: {error}", typer.colors.RED)
            raise typer.Exit(2) from None
        except OSError as error:
            from t2vlearn.files import NO_ROOM

            if error.errno in (None, errno.EPIPE):  # no word of the system's; or `| head`, which typer ends quietly
                raise
            full = error.errno in NO_ROOM
            what = "the disk is full: free some space or choose another disk" if full else "the system refuses"
            terminal.say(f"Error: {what} ({error})", typer.colors.RED)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            terminal.say(str(stop) or "Stopped.", typer.colors.YELLOW)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    help="Make short videos from words with a small model that you can read, train and judge yourself.",
    epilog='Begin with: t2vlearn generate "a brown puppy plays in the park". After each command, --help says more.',
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help comes in two thirds of the time, and a usage error stays short
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: The help of every option or argument that names weights.
WEIGHTS = "Folder or Hub id of the weights, instead of the bundled ones."


def main() -> None:
    """What the command `t2vlearn` runs."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is None where it was closed before the start
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without Chinese shows "?"
    app()


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)  # \b: keep these lines as they are


def _version(wanted: bool) -> None:
    if wanted:
        from t2vlearn import __version__

        typer.echo(f"t2vlearn {__version__}")
        raise typer.Exit()


@app.callback()
def _t2vlearn(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def check_seed(seed: int) -> int:
    """`seed`, where it is one that every random generator takes.

    Raises:
        UserError: for any other.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} is out of range: use a whole number from 0 up to {2**32 - 1}")
    return seed


def load(weights: str | None) -> TextToVideoPipeline:
    """The pipeline of a folder or Hub id, or the bundled one, on the GPU if there is one. A line says what is going on."""
    with terminal.console().status("loading the weights"):
        import torch

        from t2vlearn.pipeline import TextToVideoPipeline

        return TextToVideoPipeline.from_pretrained(weights).to("cuda" if torch.cuda.is_available() else "cpu")
