"""What can be known and made of finished weights: `t2vlearn info` and `t2vlearn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from t2vlearn import terminal
from t2vlearn.cli.base import WEIGHTS, app, examples, load


@app.command(
    short_help="Say what weights are and which words they know.",
    epilog=examples("t2vlearn info", "t2vlearn info runs/tiny", "t2vlearn info --words"),
)
def info(
    weights: Annotated[str | None, typer.Argument(help=WEIGHTS)] = None,
    words: Annotated[
        bool, typer.Option("--words", help="List every word that the model knows, and nothing else.")
    ] = False,
) -> None:
    """Say what the model is made of, where its weights came from, and which words it knows."""
    from t2vlearn import __version__

    if words and weights is None:  # the toy world's, which need no model
        from t2vlearn.world.captions import vocabulary

        typer.echo(" ".join(vocabulary()))
        return
    pipe = load(weights)
    known = pipe.text_encoder.words
    if words:
        typer.echo(" ".join(known))
        return
    rows = [("t2vlearn", __version__)]
    for name, part in pipe.named_children():
        parameters = list(part.parameters())
        millions = sum(p.numel() for p in parameters) / 1e6
        rows.append((name, f"{millions:.2f} M parameters, {sum(p.nbytes for p in parameters) / 1e6:.1f} MB in memory"))
    rows.append(("video", f"{pipe.config.num_frames} frames of {pipe.config.size}×{pipe.config.size}"))
    rows.append(("guidance", f"{pipe.config.guidance_scale:g}, unless --guidance says otherwise"))
    rows.append(("device", str(next(pipe.parameters()).device)))
    rows.append(("known words", f"{len(known)} (t2vlearn info {f'{weights} ' if weights else ''}--words lists them)"))
    rows += [(name, str(value)) for name, value in pipe.info.items()]
    terminal.print_table("the bundled weights" if weights is None else weights, rows)


export = typer.Typer(help="Write the model for runtimes without torch.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(export, name="export")


@export.command(
    short_help="Write ONNX files and a manifest.",
    epilog=examples("t2vlearn export onnx out/onnx", "t2vlearn export onnx out/onnx --from runs/tiny --store float32"),
)
def onnx(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; it is made.")],
    weights: Annotated[str | None, typer.Option("--from", help=WEIGHTS)] = None,
    store: Annotated[str, typer.Option(help="Numbers in the files: int8 (a quarter of the size) or float32.")] = "int8",
) -> None:
    """Write ONNX files for text, key frames, video, decoder and judge, and manifest.json, which says how to use them."""
    from t2vlearn.export import export_onnx

    pipe = load(weights).cpu()
    with terminal.console().status("writing ONNX files ..."):
        written = export_onnx(pipe, folder, store)
    size = sum(path.stat().st_size for path in written.iterdir())
    typer.echo(f"{written}: {len(list(written.iterdir()))} files, {size / 1e6:.1f} MB")
