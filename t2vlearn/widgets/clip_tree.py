"""A clip that goes on as the player chooses: branches are made ahead, or by the kernel while it is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import traitlets

from t2vlearn.plots import data_uri
from t2vlearn.widgets.base import Widget, script


class ClipTree(Widget):
    """Keys or buttons choose what happens next; each choice goes on from the end of the clip before.

    Args:
        first: the clip at the beginning, uint8 (f, h, w, 3) with h = w.
        actions: {key, as JavaScript calls it ("ArrowLeft"): what it does}; at most ten.
        go_on: takes a clip and a list of actions, and gives for each action the frames that follow and a note.
        depth: how many choices deep all branches are made ahead, for a page without a kernel.
        question: what the player is told.
        alt: what the clips show, in words, for those who cannot see it; the last action is added to it.
        fps: frames a second.
        width: of the picture in the page, in pixels.

    Raises:
        ValueError: for more than ten actions, frames that are not square, or an empty `alt`.
    """

    _esm = script("clip_tree.js")
    clips: traitlets.Dict = traitlets.Dict().tag(sync=True, static=True)
    actions: traitlets.List = traitlets.List().tag(sync=True, static=True)
    question = traitlets.Unicode().tag(sync=True, static=True)
    size = traitlets.Int().tag(sync=True, static=True)
    fps = traitlets.Float().tag(sync=True, static=True)
    width = traitlets.Int().tag(sync=True, static=True)

    def __init__(
        self,
        first: np.ndarray,
        actions: Mapping[str, str],
        go_on: Callable[[np.ndarray, list[str]], Sequence[tuple[np.ndarray, str]]],
        depth: int,
        question: str,
        alt: str,
        fps: float = 8,
        width: int = 256,
    ):
        if not 0 < len(actions) <= 10 or first.shape[1] != first.shape[2] or not alt.strip():
            raise ValueError("one to ten actions, square frames, and words for those who cannot see are needed")
        self._go_on, self._alt, self._labels = go_on, alt, list(actions.values())
        self._frames = {"": first}
        made = {"": self._segment(first, alt, "")}
        everything = list(range(len(actions)))
        level = [""]
        for _ in range(depth):
            for path in level:
                made |= self._grow(path, everything)
            level = [path + str(i) for path in level for i in everything]
        super().__init__(
            clips=made,
            actions=[list(pair) for pair in actions.items()],
            question=question,
            size=first.shape[1],
            fps=fps,
            width=width,
        )
        self.on_msg(lambda _, content, buffers: self._hear(content))

    def _segment(self, frames: np.ndarray, alt: str, note: str) -> dict:
        """What the page needs of one clip: its frames side by side in one picture, their number, and words."""
        strip = np.concatenate(list(frames), axis=1)[None]
        return {"strip": data_uri(strip), "frames": len(frames), "alt": alt, "note": note}

    def _grow(self, path: str, choices: list[int]) -> dict[str, dict]:
        """The clips that follow `path`, one for each choice."""
        labels = [self._labels[i] for i in choices]
        grown = {}
        for i, label, (frames, note) in zip(choices, labels, self._go_on(self._frames[path], labels), strict=True):
            self._frames[path + str(i)] = frames
            grown[path + str(i)] = self._segment(frames, f"{self._alt}, {label}", note)
        return grown

    def _hear(self, content: dict) -> None:
        """The player has left the branches that were made ahead: make one more clip."""
        path = content["path"]
        try:
            clip = self._grow(path[:-1], [int(path[-1])])[path]
        except Exception:  # else the page would wait for ever
            self.send({"type": "error", "path": path})
            raise
        self.send({"type": "clip", "path": path, "clip": clip})
