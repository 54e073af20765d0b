"""Learning and judging: `t2vlearn train` and `t2vlearn evaluate`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from t2vlearn import terminal
from t2vlearn.cli.base import WEIGHTS, app, check_seed, examples, load
from t2vlearn.errors import UserError


@app.command(
    short_help="Train a model, also on your own videos.",
    epilog=examples(
        "t2vlearn train --preset tiny --minutes 10",
        "t2vlearn train --preset base --steps 20000 --out runs/mine",
        "t2vlearn train --preset tiny --minutes 10 --resume",
        "t2vlearn train --preset tiny --minutes 10 --weights runs/tiny --seed 1 --out runs/longer",
        "t2vlearn train --preset tiny --minutes 30 --data my-videos --out runs/mine",
        "t2vlearn train --preset base --minutes 60 --processes 8 --accumulate 2 --tracker tensorboard",
    ),
)
def train(
    preset: Annotated[str, typer.Option(help="tiny (32×32, two CPU cores) or base (64×64, one GPU).")] = "tiny",
    minutes: Annotated[float | None, typer.Option(help="Train for this long. Give this or --steps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train for so many steps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and weights.", show_default="runs/<preset>")
    ] = None,
    seed: Annotated[
        int, typer.Option(callback=check_seed, help="Another seed gives other first weights and other clips.")
    ] = 0,
    weights: Annotated[
        str | None, typer.Option(help="Go on from these weights (a folder or a Hub id), and with their networks.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Learn from the captioned videos in this folder: walk.mp4 beside walk.txt, or a metadata.csv with file_name "
            "and text, or such pairs in .tar shards."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Train in so many processes, which share each batch: one for each GPU, or CPU cores.")
    ] = 1,
    accumulate: Annotated[
        int, typer.Option(help="Take each batch in so many parts, one after the other: slower, in less memory.")
    ] = 1,
    tracker: Annotated[
        str | None, typer.Option(help="Draw the curves there too: tensorboard, wandb, or another that is installed.")
    ] = None,
) -> None:
    """Train a model, on clips of the toy world that are drawn as they are needed, or on your own videos.

    Ctrl-C or a closed terminal keeps what has been learnt: --resume goes on from there.
    """
    if (minutes is None) == (steps is None):
        raise UserError("give one of --minutes and --steps, such as --minutes 10")
    from t2vlearn import checkpoint, training
    from t2vlearn import processes as several
    from t2vlearn.files import check_output

    if preset not in training.PRESETS:
        raise UserError(f"there is no preset {preset!r}: choose from {', '.join(training.PRESETS)}")
    folder = out or Path("runs") / preset
    check_output(folder / "model.safetensors")
    options: dict[str, object] = {
        "minutes": minutes,
        "steps": steps,
        "resume": resume,
        "seed": seed,
        "weights": weights,
    }
    options |= {"accumulate": accumulate, "tracker": tracker, "data": data}
    if processes == 1:
        _train(training.PRESETS[preset], folder, options)
    else:
        try:
            several.run(_train, processes, training.PRESETS[preset], folder, options)
        except several.Died as error:
            again = "--resume goes on from the last checkpoint" if checkpoint.exists(folder) else "start again"
            raise UserError(f"{error}: {again}, with any number of processes") from None
    if not terminal.is_first():  # of those that `accelerate launch` has started
        return
    from t2vlearn.storage import read_info

    where, example = shlex.quote(str(folder)), read_info(folder).get("example", "a brown puppy plays in the park")
    typer.echo(f"weights  {folder}")
    typer.echo(f"try      t2vlearn generate {_quoted(example)} --weights {where}")
    if data is None:  # the judge knows the toy world alone
        typer.echo(f"judge    t2vlearn evaluate {where}")


def _quoted(prompt: str) -> str:
    return f'"{prompt}"' if re.fullmatch(r"[\w ,.'-]+", prompt) else shlex.quote(prompt)


def _train(config, folder: Path, options: dict) -> None:
    """Train, with a bar: in this process, or in each of several, of which the first shows it."""
    from t2vlearn import training

    with terminal.warnings_as_notes(), terminal.bars(lines=100) as show:

        def report(now: training.Progress) -> None:
            facts = f"{now.stage}: step {now.step}, loss {now.loss:.4f}, {now.clips_per_second:.0f} clips/s"
            skipped = f", {now.skipped} skipped (NaN)" if now.skipped else ""
            left = f"{terminal.duration(now.seconds_left)} left"
            if now.stage in training.PREPARATIONS:
                show(now.stage, now.fraction, 1.0, f"{now.step}, {now.clips_per_second:.0f}/s, {left}")
            else:
                show("training", now.fraction, 1.0, f"{facts}{skipped}, {left}")

        training.train(config, folder, progress=report, **options)


@app.command(
    short_help="Let the judge count how often words are followed.",
    epilog=examples(
        "t2vlearn evaluate",
        "t2vlearn evaluate runs/tiny --split chinese --samples 200 --json report.json",
    ),
)
def evaluate(
    weights: Annotated[str | None, typer.Argument(help=WEIGHTS)] = None,
    split: Annotated[
        str,
        typer.Option(help="What to ask for: train, heldout (unseen combinations), patterns, chinese or two_actors."),
    ] = "heldout",
    samples: Annotated[
        int, typer.Option(help="How many videos to make and judge; 1000 take some ten minutes on two cores.")
    ] = 1000,
    json: Annotated[Path | None, typer.Option(help="File to write the report to, as JSON.")] = None,
    seed: Annotated[int, typer.Option(callback=check_seed, help="Another seed asks for other scenes.")] = 0,
) -> None:
    """Make many videos and count how often the judge sees what the words asked for, with 95% intervals."""
    from t2vlearn.files import check_output, whole_file

    if json:
        check_output(json)
    from t2vlearn import evaluation

    if split not in evaluation.EVAL_SPLITS:
        raise UserError(f"there is no split {split!r}: choose from {', '.join(evaluation.EVAL_SPLITS)}")
    pipe = load(weights)
    with terminal.warnings_as_notes(), terminal.bars(lines=10) as show:
        report = evaluation.evaluate(pipe, split, samples, seed, progress=show)
    if json:
        import json as json_format

        with whole_file(json) as temporary:
            text = json_format.dumps(report.as_dict(), indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    terminal.print_table(f"{split}, {samples} clips", report.table())
