"""Things to move: in a notebook as widgets (anywidget), in a static page by themselves, with the same JavaScript.

Each widget is one small JavaScript file beside this one, without a build step. What it shows is computed before, so that
it needs no kernel: a notebook's front end takes the widget, a page takes the HTML that comes with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from torch import Tensor

from t2vlearn.plots import data_uri
from t2vlearn.widgets.base import Widget, script
from t2vlearn.widgets.clip_tree import ClipTree
from t2vlearn.widgets.cost_calculator import CostCalculator
from t2vlearn.widgets.drawing import DrawingBoard
from t2vlearn.widgets.playground import Playground

__all__ = [
    "AttentionViewer",
    "ClipGrid",
    "ClipSlider",
    "ClipTree",
    "CostCalculator",
    "DrawingBoard",
    "Playground",
    "ScheduleExplorer",
]


class ClipGrid(Widget):
    """Clips of which one is shown at a time: a slider for each axis, the arrow keys, or a button that runs along the last axis.

    Args:
        clips: each uint8 (f, h, w, 3), in the order of the axes, the last fastest.
        axes: {what is chosen: its labels}; as many clips as there are combinations.
        alts: what each clip shows, in words, for those who cannot see it.
        notes: a line under each clip.
        fps: frames a second of each clip.
        width: of the picture in the page, in pixels.
        milliseconds: how long each clip stays while the button runs through them.

    Raises:
        ValueError: for too many or too few clips or texts, or an empty text in `alts`.
    """

    _esm = script("clip_slider.js")
    pictures: traitlets.List = traitlets.List().tag(sync=True, static=True)
    axes: traitlets.List = traitlets.List().tag(sync=True, static=True)
    alts: traitlets.List = traitlets.List().tag(sync=True, static=True)
    notes: traitlets.List = traitlets.List().tag(sync=True, static=True)
    width = traitlets.Int().tag(sync=True, static=True)
    height = traitlets.Int().tag(sync=True, static=True)
    milliseconds = traitlets.Int().tag(sync=True, static=True)
    index = traitlets.Int(0).tag(sync=True, static=True)

    def __init__(
        self,
        clips: Sequence[np.ndarray],
        axes: Mapping[str, Sequence[str]],
        alts: Sequence[str],
        notes: Sequence[str] | None = None,
        fps: float = 8,
        width: int = 256,
        milliseconds: int = 700,
    ):
        notes = [""] * len(clips) if notes is None else list(notes)
        wanted = math.prod(len(labels) for labels in axes.values())
        if not len(clips) == wanted == len(alts) == len(notes) > 0:
            raise ValueError(
                f"the labels ask for {wanted} clips, at least one, each with alt and note: there are {len(clips)} clips, "
                f"{len(alts)} alts and {len(notes)} notes"
            )
        if not all(alt.strip() for alt in alts):
            raise ValueError("say in `alts` what each clip shows, for those who cannot see it")
        super().__init__(
            pictures=[[data_uri(clip, fps), data_uri(clip[:1], fps)] for clip in clips],
            axes=[[question, list(labels)] for question, labels in axes.items()],
            alts=list(alts),
            notes=notes,
            width=width,
            height=round(width * clips[0].shape[1] / clips[0].shape[2]),
            milliseconds=milliseconds,
        )


class ClipSlider(ClipGrid):
    """A `ClipGrid` of one axis: the `question`, and what the slider says at each clip, its `labels`.

    Args:
        clips: each uint8 (f, h, w, 3).
        labels: one for each clip.
        alts: as in `ClipGrid`.
        question: what is chosen.
        **options: `notes`, `fps`, `width` and `milliseconds` of `ClipGrid`.

    Raises:
        ValueError: as `ClipGrid`.
    """

    def __init__(
        self, clips: Sequence[np.ndarray], labels: Sequence[str], alts: Sequence[str], question: str, **options
    ):
        super().__init__(clips, {question: labels}, alts, **options)


class AttentionViewer(Widget):
    """Which tokens does a token look at? Choose layer, head and token.

    Args:
        words: the l tokens.
        weights: attention weights (layers, heads, l, l); each row sums to one.

    Raises:
        ValueError: if `weights` do not fit the words.
    """

    _esm = script("attention_viewer.js")
    words: traitlets.List = traitlets.List().tag(sync=True, static=True)
    weights: traitlets.List = traitlets.List().tag(sync=True, static=True)
    word = traitlets.Int(0).tag(sync=True, static=True)

    def __init__(self, words: Sequence[str], weights: Tensor):
        if weights.dim() != 4 or weights.shape[2:] != (len(words), len(words)):
            raise ValueError(f"{len(words)} words need weights (layers, heads, {len(words)}, {len(words)})")
        super().__init__(words=list(words), weights=weights.mul(1000).round().div(1000).tolist())


class ScheduleExplorer(Widget):
    """How fast the noise grows: shares of signal and noise for three schedules, with a dial each.

    Linear beta_t from 1e-4 (Ho et al. 2020, section 4), cosine alpha_bar (Nichol & Dhariwal 2021, equation 17), and
    straight lines with a shift (Esser et al. 2024, equation 23).

    Args:
        steps: T.
    """

    _esm = script("schedule_explorer.js")
    steps = traitlets.Int(1000).tag(sync=True, static=True)

    def __init__(self, steps: int = 1000):
        super().__init__(steps=steps)
