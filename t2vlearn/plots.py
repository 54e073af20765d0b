"""One look for every figure: colours, sizes, film strips of clips, and players that work in a static page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from hashlib import blake2b

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from t2vlearn.media import encode_webp

#: Okabe and Ito's palette (Color Universal Design, 2008), told apart with every common kind of colour blindness.
#: The yellow of the eight comes last, and is for areas: as a line on white it is too faint.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
#: Ink and lines. The ground is white and opaque, so a figure reads the same on a light and on a dark page.
INK, FAINT = "#222222", "#BBBBBB"

_LOOK = {
    "figure.figsize": (7.0, 3.2),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.015,
    "figure.constrained_layout.h_pad": 0.015,
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "image.interpolation": "nearest",
    "image.cmap": "cividis",
}


def style() -> None:
    """Give matplotlib the book's look, for every figure that is drawn from now on."""
    plt.rcParams.update(_LOOK)  # type: ignore[arg-type]  # its stub lists every name there is
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)


def show_clips(
    clips: np.ndarray | list[np.ndarray],
    titles: list[str] | None = None,
    every: int = 1,
    numbers: Sequence[Sequence[object]] | None = None,
) -> Figure:
    """Film strips one below the other: a title and every `every`-th frame of each clip (f, h, w, 3), with their numbers.

    Args:
        clips: they may differ in length: key frames, say.
        titles: one for each clip.
        every: 1 shows all frames.
        numbers: what stands under the frames of each clip, f of them; default: 0, 1, 2, ...

    Raises:
        ValueError: if there are not as many titles as clips, or not as many numbers as frames.
    """
    style()
    titles = titles if titles is not None else [""] * len(clips)
    numbers = numbers if numbers is not None else [range(len(clip)) for clip in clips]
    if len(titles) != len(clips):
        raise ValueError(f"{len(clips)} clips need as many titles, not {len(titles)}")
    if [len(row) for row in numbers] != [len(clip) for clip in clips]:
        raise ValueError(
            f"frames {[len(clip) for clip in clips]} need as many numbers, not {[len(row) for row in numbers]}"
        )
    columns = max(len(clip[::every]) for clip in clips)
    height, width = clips[0].shape[1:3]
    frame = max(8.0 / columns, 0.45)  # inches: below that, a number of 9 points fills its frame
    figure = plt.figure(figsize=(frame * columns, len(clips) * (frame * height / width + 0.5)))
    strips = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for strip, clip, title, row in zip(strips, clips, titles, numbers):
        strip.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
        axes = strip.subplots(1, columns, squeeze=False, gridspec_kw={"wspace": 0.04})[0]
        for ax in axes:
            ax.set_axis_off()
        for ax, picture, number in zip(axes, clip[::every], row[::every]):
            ax.imshow(picture)
            ax.text(0.5, -0.04, str(number), transform=ax.transAxes, ha="center", va="top", fontsize=9, color=INK)
    plt.close(figure)  # a notebook shows what a cell returns; left open, it would show the figure twice
    return figure


def show_counts(
    ax: Axes, counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], most: int | None = None
) -> None:
    """A table of whole numbers as coloured cells, with the number in each that is not 0.

    Args:
        ax: where it is drawn.
        counts: (rows, columns).
        rows, columns: their names.
        most: the number of the lightest colour; default: the largest of the table.
    """
    most = int(counts.max()) if most is None else most
    ax.imshow(counts, vmin=0, vmax=most)
    for (y, x), count in np.ndenumerate(counts):
        if count:
            ax.text(x, y, str(count), ha="center", va="center", fontsize=9, color="w" if count < most / 2 else "k")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)


def player(frames: np.ndarray, alt: str, fps: float = 8, width: int = 256) -> HTML:
    """A clip (f, h, w, 3) that plays for ever in a page: an animated picture inside the page itself, with no script.

    Whoever has asked their system for less motion sees the first frame instead.

    Args:
        frames: uint8 (f, h, w, 3).
        alt: what the clip shows, in words, for those who cannot see it.
        fps: frames a second.
        width: of the picture in the page, in pixels; each of the clip's pixels stays a sharp square.

    Raises:
        ValueError: for an empty `alt`.
    """
    return HTML(_picture(frames, alt, fps, width))


def chooser(
    clips: Sequence[np.ndarray],
    labels: Sequence[str],
    alts: Sequence[str],
    question: str,
    notes: Sequence[str] | None = None,
    fps: float = 8,
    width: int = 256,
) -> HTML:
    """Clips of which the reader picks one to watch, with radio buttons: they work in a static page, without a script.

    Args:
        clips: each uint8 (f, h, w, 3).
        labels: what stands beside each button.
        alts: what each clip shows, as in `player`.
        question: what is chosen: the group's legend.
        notes: a line under each clip.
        fps, width: as in `player`.

    Raises:
        ValueError: for no clips, lists of unlike length, or an empty alt.
    """
    notes = [""] * len(clips) if notes is None else notes
    if not len(clips):
        raise ValueError("at least one clip is needed")
    if not len(clips) == len(labels) == len(alts) == len(notes):
        raise ValueError(
            f"{len(clips)} clips need as many labels, alts and notes, not {len(labels)}, {len(alts)} and {len(notes)}"
        )
    pictures = [_picture(clip, alt, fps, width) for clip, alt in zip(clips, alts)]
    # Buttons of one name exclude each other, so each group in a page needs a name of its own.
    name = "choice-" + blake2b("".join([question, *labels, *pictures]).encode(), digest_size=6).hexdigest()
    layout = "inline-block" if max(map(len, labels)) <= 12 else "block"  # sentences stand below each other
    buttons = "".join(
        f'<label style="display: {layout}; margin-right: 1.2em"><input type="radio" name="{name}"'
        f"{' checked' if i == 0 else ''}> {html.escape(label)}</label>"
        for i, label in enumerate(labels)
    )
    panels = "".join(
        f'<div style="margin-top: 0.6em">{picture}<div style="margin-top: 0.4em">{html.escape(note)}</div></div>'
        for picture, note in zip(pictures, notes)
    )
    shown = ", ".join(
        f"#{name}:has(label:nth-of-type({i}) > :checked) > div:nth-of-type({i})" for i in range(1, len(clips) + 1)
    )
    # A browser that does not know :has() skips both rules and shows all clips.
    look = f"<style>#{name}:has(:checked) > div {{ display: none }} {shown} {{ display: block }}</style>"
    return HTML(
        f'{look}<fieldset id="{name}" style="border: 0; margin: 0; padding: 0; min-width: 0">'
        f'<legend style="font-size: 1em">{html.escape(question)}</legend>{buttons}{panels}</fieldset>'
    )


def _picture(frames: np.ndarray, alt: str, fps: float, width: int) -> str:
    if not alt.strip():
        raise ValueError("say in `alt` what the clip shows, for those who cannot see it")
    moving, still = (data_uri(f, fps) for f in (frames, frames[:1]))
    height = round(width * frames.shape[1] / frames.shape[2])
    # A clip's few pixels stay sharp squares; a drawing, which is shown smaller than it is, must not lose rows of them.
    scaling = "pixelated" if width > frames.shape[2] else "auto"
    return (
        f'<picture><source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
        f'<img src="{moving}" alt="{html.escape(alt, quote=True)}" width="{width}" height="{height}" '
        f'style="image-rendering: {scaling}; max-width: 100%; height: auto"></picture>'
    )


def data_uri(frames: np.ndarray, fps: float = 8) -> str:
    """A clip (f, h, w, 3) as an animated lossless WebP inside an address: `data:image/webp;base64,...`."""
    return "data:image/webp;base64," + base64.b64encode(encode_webp(frames, fps)).decode()
