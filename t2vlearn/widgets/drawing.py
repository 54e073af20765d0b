"""A grid to draw on, for a character of one's own."""

from __future__ import annotations

import numpy as np
import traitlets

from t2vlearn.widgets.base import Widget, script
from t2vlearn.world.render import RGB
from t2vlearn.world.sprites import INK, WHITE

SIDE = 32
#: letter -> name and colour in [0, 1]
PALETTE = {name[0] if name != "brown" else "n": (name, rgb) for name, rgb in RGB.items()}
PALETTE |= {"k": ("black", INK), "w": ("white", WHITE)}


class DrawingBoard(Widget):
    """A board of 32 x 32 cells in the world's six colours, black and white: press and drag, or arrow keys and space bar.

    `drawing` is what stands on it. In a page without a kernel it can be drawn on too, and saved as a PNG file.

    Args:
        drawing: what stands on it at first, uint8 (32, 32, 4); each cell takes the nearest colour of the palette, or none
            where it is transparent.

    Raises:
        ValueError: for a drawing of another shape.
    """

    _esm = script("drawing.js")
    side = traitlets.Int(SIDE).tag(sync=True, static=True)
    palette: traitlets.List = traitlets.List().tag(sync=True, static=True)
    pixels = traitlets.Unicode().tag(sync=True, static=True)

    def __init__(self, drawing: np.ndarray | None = None):
        palette = [
            [letter, name, "#" + "".join(f"{round(255 * v):02x}" for v in rgb)]
            for letter, (name, rgb) in PALETTE.items()
        ]
        super().__init__(palette=palette, pixels="." * SIDE**2)
        if drawing is not None:
            self.drawing = drawing

    @property
    def drawing(self) -> np.ndarray:
        """What is drawn: uint8 (32, 32, 4), transparent where nothing is."""
        colours = {letter: [*(round(255 * v) for v in rgb), 255] for letter, (_, rgb) in PALETTE.items()}
        cells = [colours.get(letter, [0, 0, 0, 0]) for letter in self.pixels]
        return np.array(cells, np.uint8).reshape(SIDE, SIDE, 4)

    @drawing.setter
    def drawing(self, image: np.ndarray) -> None:
        if image.shape != (SIDE, SIDE, 4):
            raise ValueError(f"a drawing of {SIDE} x {SIDE} x 4 is needed, not {image.shape}")
        colours = np.array([rgb for _, rgb in PALETTE.values()]) * 255
        nearest = np.abs(image[..., None, :3] - colours).sum(-1).argmin(-1)
        letters = np.where(image[..., 3] > 127, np.array(list(PALETTE))[nearest], ".")
        self.pixels = "".join(letters.flatten())
