"""Making clips: `t2vlearn generate` and `t2vlearn story`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2vlearn import terminal
from t2vlearn.cli.base import WEIGHTS, app, check_seed, examples, load
from t2vlearn.errors import UserError

if TYPE_CHECKING:
    import numpy as np


# What `generate` and `story` have in common.
Steps = Annotated[
    int,
    typer.Option(
        help="Denoising steps of the key frames, and a fifth as many between them: more are slower and cleaner."
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(help="How closely to follow the words; 1 is no guidance.", show_default="what the weights ask for"),
]
Weights = Annotated[str | None, typer.Option(help=WEIGHTS)]


def _slug(prompt: str) -> str:
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:40].rstrip("-") or "clip"


@app.command(
    short_help="Make a video from words.",
    epilog=examples(
        't2vlearn generate "a brown puppy plays in the park"',
        't2vlearn generate "一只小狗在公园里玩耍" -o puppy.gif --seed 3',
        't2vlearn generate "a red star jumps" "a blue car moves left" -o two.mp4',
        't2vlearn generate "a car jumps" --extend -o car.mp4',
        't2vlearn generate "a kitten runs to the right" --continue puppy.gif -o more.mp4',
    ),
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
        int, typer.Option(callback=check_seed, help="Another seed gives another video for the same words.")
    ] = 0,
    steps: Steps = 20,
    guidance: Guidance = None,
    negative: Annotated[str, typer.Option(help="What the video should not show.")] = "",
    extend: Annotated[
        bool,
        typer.Option(
            "--extend", help="Say first what the words leave open, such as a colour: it then stays as it is more often."
        ),
    ] = False,
    image: Annotated[Path | None, typer.Option(help="A picture to start from: it becomes the first frame.")] = None,
    continue_from: Annotated[
        Path | None, typer.Option("--continue", help="A video to go on from where it ends.")
    ] = None,
    weights: Weights = None,
) -> None:
    """Make a video from words, and let the judge say what it sees in it.

    Beside the video stands a picture of its key frames, named after it with "-keyframes.png".
    """
    from t2vlearn import media
    from t2vlearn.files import check_output
    from t2vlearn.judge import NUM_FRAMES
    from t2vlearn.world import extend_prompt

    output = check_output(output or Path("out") / f"{_slug(prompts[0])}.mp4", media.SUFFIXES)
    sheet = check_output(output.with_name(f"{output.stem}-keyframes.png"))
    if image and continue_from:
        raise UserError("give --image or --continue, not both")
    if extend and (image or continue_from):
        raise UserError("give --extend without --image and --continue: a picture shows what the words leave open")
    given = media.read(image or continue_from) if image or continue_from else None  # type: ignore[arg-type]
    pipe = load(weights)
    if given is not None:
        given = media.fit(given, pipe.config.size)
    with terminal.warnings_as_notes(), terminal.bars() as show:
        said = [extend_prompt(prompt, seed + i) for i, prompt in enumerate(prompts)] if extend else prompts
        for prompt in prompts:
            if prompt not in said:  # words that nobody knows are no longer in it
                pipe.check_prompt(prompt)
        result = pipe(
            said,
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
    for prompt in said if extend else []:
        typer.echo(f"prompt      {prompt}")
    typer.echo(f"video       {output}")
    typer.echo(f"key frames  {sheet}")
    # The judge knows the toy world, not other people's videos, and clips of one length.
    if "clips" not in pipe.info and pipe.config.num_frames == NUM_FRAMES:
        _print_verdict(said, result.frames)


@app.command(
    short_help="Make a longer video, a segment for each sentence.",
    epilog=examples(
        't2vlearn story "a puppy runs to the right in the park" "a puppy runs to the left in the park" -o walk.mp4',
        't2vlearn story "a red star jumps at night" --segments 16 -o night.mp4',
    ),
)
def story(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT", help="What happens, one sentence for each segment.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .mp4, .webm, .gif or .webp.", show_default="out/<prompt>-story.mp4"
        ),
    ] = None,
    segments: Annotated[
        int | None,
        typer.Option(help="How many; after the last sentence comes the first again.", show_default="one a sentence"),
    ] = None,
    start_level: Annotated[
        float, typer.Option(help="How far each segment may change the frame it starts from: 0 not at all, 1 at will.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(callback=check_seed, help="Another seed gives another video.")] = 0,
    steps: Steps = 20,
    guidance: Guidance = None,
    weights: Weights = None,
) -> None:
    """Make a longer video: a segment for each sentence, beginning where the one before ended.

    So an action has to begin where the one before it ends: after running to the right, run to the left.
    """
    import numpy as np

    from t2vlearn import media
    from t2vlearn.files import check_output
    from t2vlearn.long import generate_long

    output = check_output(output or Path("out") / f"{_slug(prompts[0])}-story.mp4", media.SUFFIXES[:-1])
    total = len(prompts) if segments is None else segments
    pipe, pieces = load(weights), []
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

    for prompt, asks, sees in zip(prompts, asked, Judge.from_pretrained().read_as_asked(frames, asked)):
        if not asks:
            continue
        table = Table("", "prompt asks", "judge sees", "", title=escape(prompt), title_justify="left")
        for key in asks:
            right = "[green]✓[/green]" if sees[key] == asks[key] else "[red]✗[/red]"
            table.add_row(key, asks[key], f"{sees[key]} ({sees['confidence'][key]:.0%})", right)
        terminal.console(error=False).print(table)
        if "subject_2" in asks:
            typer.echo("Of two at once the judge misreads more, of real clips too (chapter 11).")
