"""The command line: generate, train, evaluate, export, info.

Nothing heavy is imported before a command needs it, so that help comes at once.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from t2vlearn import terminal
from t2vlearn.errors import UserError

if TYPE_CHECKING:
    import numpy as np


class _Commands(TyperGroup):
    """Ends any command on a mistake of the user with one line and exit code 2, and on Ctrl-C with exit code 130."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except UserError as error:
            terminal.say(f"Error: {error}", typer.colors.RED)
            raise typer.Exit(2) from None
        except OSError as error:
            from t2vlearn.media import NO_ROOM

            if error.errno not in NO_ROOM:
                raise
            terminal.say(f"Error: the disk is full ({error}): free some space or choose another disk", typer.colors.RED)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            terminal.say(str(stop) or "Stopped.", typer.colors.YELLOW)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    help="Make short videos from words with a small model that you can read, train and judge yourself.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help comes in two thirds of the time, and a usage error stays short
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_WEIGHTS = "Folder or Hub id of the weights, instead of the bundled ones."


def main() -> None:
    """What the command `t2vlearn` runs."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without Chinese shows "?" instead
    app()


def _examples(*lines: str) -> str:
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


def _check_seed(seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} is out of range: use a whole number from 0 up to {2**32 - 1}")
    return seed


def _load(weights: str | None):
    with terminal.console().status("loading the weights"):
        from t2vlearn.pipeline import TextToVideoPipeline

        return TextToVideoPipeline.from_pretrained(weights)


def _slug(prompt: str) -> str:
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:40].rstrip("-") or "clip"


@app.command(
    epilog=_examples(
        't2vlearn generate "a brown puppy plays in the park"',
        't2vlearn generate "一只小狗在公园里玩耍" -o puppy.gif --seed 3',
        't2vlearn generate "a red star jumps" "a blue car moves left" -o two.mp4',
        't2vlearn generate "a kitten runs to the right" --continue puppy.gif -o more.mp4',
    )
)
def generate(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT", help="What the video should show; several are tiled.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .mp4, .webm, .gif, .webp or .png.", show_default="out/<prompt>.mp4"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(callback=_check_seed, help="Another seed gives another video for the same words.")
    ] = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps: more are slower and cleaner.")] = 20,
    guidance: Annotated[float, typer.Option(help="How closely to follow the words; 1 is no guidance.")] = 3.0,
    negative: Annotated[str, typer.Option(help="What the video should not show.")] = "",
    image: Annotated[Path | None, typer.Option(help="A picture to start from: it becomes the first frame.")] = None,
    continue_from: Annotated[
        Path | None, typer.Option("--continue", help="A video to go on from where it ends.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help=_WEIGHTS)] = None,
) -> None:
    """Make a video from words, and let the judge say what it sees in it.

    Beside the video stands a picture of its key frames, named after it with "-keyframes.png".
    """
    from t2vlearn import media

    output = media.check_output(output or Path("out") / f"{_slug(prompts[0])}.mp4")
    sheet = output.with_name(f"{output.stem}-keyframes.png")
    if image and continue_from:
        raise UserError("give --image or --continue, not both")
    given = media.read(image or continue_from) if image or continue_from else None  # type: ignore[arg-type]
    pipe = _load(weights)
    if given is not None:
        given = media.fit(given, pipe.config.size)
    with terminal.warnings_as_notes(), terminal.bars() as show:
        result = pipe(
            prompts,
            num_inference_steps=steps,
            guidance_scale=guidance,
            negative_prompt=negative,
            seed=seed,
            image=given[0] if given is not None and image else None,
            continue_from=given if given is not None and continue_from else None,
            callback=lambda stage, step, total, _: show(stage, step, total),
        )
    result.save(output)
    media.write_clips(sheet, result.keyframes, mark=media.MARK)
    typer.echo(f"video       {output}")
    typer.echo(f"key frames  {sheet}")
    if "clips" not in pipe.info:  # the judge knows the toy world, not other people's videos
        _print_verdict(prompts, result.frames)


@app.command(
    epilog=_examples(
        't2vlearn story "a puppy runs to the right in the park" "a puppy runs to the left in the park" -o walk.mp4',
        't2vlearn story "a red star jumps at night" --segments 16 -o night.mp4',
    )
)
def story(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT", help="What happens, one sentence for each segment.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .mp4, .webm, .gif or .webp.", show_default="out/<prompt>.mp4"
        ),
    ] = None,
    segments: Annotated[
        int | None,
        typer.Option(help="How many; after the last sentence comes the first again.", show_default="one a sentence"),
    ] = None,
    start_level: Annotated[
        float, typer.Option(help="How far each segment may change the frame it starts from: 0 not at all, 1 at will.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(callback=_check_seed, help="Another seed gives another video.")] = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps: more are slower and cleaner.")] = 20,
    guidance: Annotated[float, typer.Option(help="How closely to follow the words; 1 is no guidance.")] = 3.0,
    weights: Annotated[str | None, typer.Option(help=_WEIGHTS)] = None,
) -> None:
    """Make a longer video: a segment for each sentence, beginning where the one before ended.

    So an action has to begin where the one before it ends: after running to the right, run to the left.
    """
    import numpy as np

    from t2vlearn import media
    from t2vlearn.long import generate_long

    output = media.check_output(output or Path("out") / f"{_slug(prompts[0])}-story.mp4", media.SUFFIXES[:-1])
    total = len(prompts) if segments is None else segments
    pipe, pieces = _load(weights), []
    with terminal.warnings_as_notes(), terminal.bars() as show:
        for piece in generate_long(pipe, [prompts], total, start_level, steps, guidance, seed):
            pieces.append(piece[0])
            show("segments", len(pieces), total)
    media.write(output, np.concatenate(pieces), mark=media.MARK)
    typer.echo(f"video    {output}")


def _print_verdict(prompts: list[str], frames: np.ndarray) -> None:
    from t2vlearn.world import parse_prompt

    asked = [parse_prompt(prompt) for prompt in prompts]
    if not any(asked):
        return
    from rich.markup import escape
    from rich.table import Table

    from t2vlearn.judge import Judge

    for prompt, asks, sees in zip(prompts, asked, Judge.from_pretrained().read(frames)):
        if not asks:
            continue
        if set(asks) - set(sees):
            typer.echo(f"no verdict: the judge reads one subject, and more are named in {prompt!r}")
            continue
        table = Table("", "prompt asks", "judge sees", "", title=escape(prompt), title_justify="left")
        for key in asks:
            right = "[green]✓[/green]" if sees[key] == asks[key] else "[red]✗[/red]"
            table.add_row(key, asks[key], f"{sees[key]} ({sees['confidence'][key]:.0%})", right)
        terminal.console(error=False).print(table)


@app.command(
    epilog=_examples(
        "t2vlearn train --preset tiny --minutes 10",
        "t2vlearn train --preset base --steps 20000 --out runs/mine",
        "t2vlearn train --preset tiny --minutes 10 --resume",
        "t2vlearn train --preset tiny --minutes 10 --weights runs/tiny --seed 1 --out runs/longer",
        "t2vlearn train --preset base --minutes 60 --processes 8",
        "t2vlearn train --preset tiny --minutes 30 --data my-videos --out runs/mine",
    )
)
def train(
    preset: Annotated[str, typer.Option(help="tiny (32×32, two CPU cores) or base (64×64, one GPU).")] = "tiny",
    minutes: Annotated[float | None, typer.Option(help="Train for this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train for so many steps, instead of --minutes.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and weights.", show_default="runs/<preset>")
    ] = None,
    seed: Annotated[
        int, typer.Option(callback=_check_seed, help="Another seed gives other first weights and other clips.")
    ] = 0,
    weights: Annotated[
        str | None, typer.Option(help="Go on from these weights (a folder or a Hub id) instead of from nothing.")
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
) -> None:
    """Train a model, on clips of the toy world that are drawn as they are needed, or on your own videos.

    Ctrl-C keeps what has been learnt: --resume goes on from there.
    """
    if (minutes is None) == (steps is None):
        raise UserError("give one of --minutes and --steps, such as --minutes 10")
    from t2vlearn import checkpoint, training
    from t2vlearn import processes as several
    from t2vlearn.media import check_output

    if preset not in training.PRESETS:
        raise UserError(f"there is no preset {preset!r}: choose from {', '.join(training.PRESETS)}")
    folder = out or Path("runs") / preset
    check_output(folder / "model.safetensors", suffixes=())
    arguments = (training.PRESETS[preset], folder, minutes, steps, resume, seed, weights, data)
    if processes == 1:
        _train(*arguments)
    else:
        try:
            several.run(_train, processes, *arguments)
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


def _train(config, folder: Path, minutes, steps, resume: bool, seed: int, weights: str | None, data) -> None:
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

        training.train(config, folder, minutes, steps, resume, seed, report, weights=weights, data=data)


@app.command(
    epilog=_examples(
        "t2vlearn evaluate",
        "t2vlearn evaluate runs/tiny --split chinese --samples 200 --json report.json",
    )
)
def evaluate(
    weights: Annotated[str | None, typer.Argument(help=_WEIGHTS)] = None,
    split: Annotated[
        str,
        typer.Option(help="What to ask for: train, heldout (unseen combinations), patterns, chinese or two_actors."),
    ] = "heldout",
    samples: Annotated[int, typer.Option(help="How many videos to make and judge.")] = 1000,
    json: Annotated[Path | None, typer.Option(help="File to write the report to, as JSON.")] = None,
    seed: Annotated[int, typer.Option(callback=_check_seed, help="Another seed asks for other scenes.")] = 0,
) -> None:
    """Make many videos and count how often the judge sees what the words asked for, with 95% intervals."""
    from t2vlearn.media import check_output, whole_file

    if json:
        check_output(json, suffixes=())
    from t2vlearn import evaluation

    if split not in evaluation.EVAL_SPLITS:
        raise UserError(f"there is no split {split!r}: choose from {', '.join(evaluation.EVAL_SPLITS)}")
    pipe = _load(weights)
    with terminal.warnings_as_notes(), terminal.bars(lines=10) as show:
        report = evaluation.evaluate(pipe, split, samples, seed, progress=show)
    if json:
        import json as json_format

        with whole_file(json) as temporary:
            text = json_format.dumps(report.as_dict(), indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    terminal.print_table(f"{split}, {samples} clips", report.table())


export = typer.Typer(help="Write the model for runtimes without torch.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(export, name="export")


@export.command(
    epilog=_examples("t2vlearn export onnx out/onnx", "t2vlearn export onnx out/onnx --from runs/tiny --store float32")
)
def onnx(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; it is made.")],
    weights: Annotated[str | None, typer.Option("--from", help=_WEIGHTS)] = None,
    store: Annotated[str, typer.Option(help="Numbers in the files: int8 (a quarter of the size) or float32.")] = "int8",
) -> None:
    """Write ONNX files for text, key frames, video, decoder and judge, and manifest.json, which says how to use them."""
    from t2vlearn.export import export_onnx

    with terminal.console().status("writing ONNX files ..."):
        written = export_onnx(_load(weights), folder, store)
    size = sum(path.stat().st_size for path in written.iterdir())
    typer.echo(f"{written}: {len(list(written.iterdir()))} files, {size / 1e6:.1f} MB")


@app.command(epilog=_examples("t2vlearn info", "t2vlearn info runs/tiny", "t2vlearn info --words"))
def info(
    weights: Annotated[str | None, typer.Argument(help=_WEIGHTS)] = None,
    words: Annotated[
        bool, typer.Option("--words", help="List every word that the model knows, and nothing else.")
    ] = False,
) -> None:
    """Say what the model is made of, where its weights came from, and which words it knows."""
    from t2vlearn import __version__
    from t2vlearn.world.captions import vocabulary

    if words:
        typer.echo(" ".join(vocabulary()))
        return
    pipe = _load(weights)
    rows = [("t2vlearn", __version__)]
    for name, part in pipe.named_children():
        parameters = list(part.parameters())
        millions = sum(p.numel() for p in parameters) / 1e6
        rows.append((name, f"{millions:.2f} M parameters, {sum(p.nbytes for p in parameters) / 1e6:.1f} MB in memory"))
    rows.append(("video", f"{pipe.config.num_frames} frames of {pipe.config.size}×{pipe.config.size}"))
    rows.append(("device", str(next(pipe.parameters()).device)))
    rows.append(("known words", f"{len(vocabulary())} (t2vlearn info --words lists them)"))
    rows += [(name, str(value)) for name, value in pipe.info.items()]
    terminal.print_table("the bundled weights" if weights is None else weights, rows)


if __name__ == "__main__":
    main()
