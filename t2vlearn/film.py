"""From clips to a film: title cards, cross-fades, and a visible mark that the pictures are generated.

Everything takes and gives uint8 frames (f, h, w, 3). Letters need room: enlarge a clip (`media.enlarge`) before them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from t2vlearn.errors import UserError

PAPER, INK = (24, 24, 28), (240, 240, 240)
SMALLEST = 8  # pixels of a letter that can still be read


def title_card(text: str, num_frames: int, height: int, width: int) -> np.ndarray:
    """A still of light letters, line by line, in the middle of a dark ground: uint8 (num_frames, height, width, 3).

    The letters are as large as the lines allow, at most a sixth of the height. Pillow's own font draws them; it has Latin
    letters only.

    Raises:
        UserError: for a text that is empty, too long, or that the font cannot write.
    """
    _check_text(text)
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=ImageFont.load_default(100))
    size = min(height / 6, 86 * width / (right - left), 86 * height / (bottom - top))
    if size < SMALLEST:
        raise UserError(f"the title does not fit into {width} x {height} pixels: use fewer words, or more lines")
    font = ImageFont.load_default(size)
    pen.multiline_text((width / 2, height / 2), text, INK, font, anchor="mm", align="center", spacing=size / 25)
    return np.repeat(np.asarray(image)[None], num_frames, axis=0)


def cross_fade(first: np.ndarray, second: np.ndarray, overlap: int) -> np.ndarray:
    """`second` after `first`, mixed where they overlap: (1 - w) x + w y with w = 1/(n+1), ..., n/(n+1) for n = overlap.

    Args:
        first, second: uint8 (f, h, w, 3) and (g, h, w, 3).
        overlap: n, how many frames are mixed; 0 is a cut.

    Returns:
        uint8 (f + g - n, h, w, 3).

    Raises:
        UserError: for frames of unlike sizes, or an overlap that is longer than one of the clips.
    """
    if first.shape[1:] != second.shape[1:]:
        raise UserError(f"clips of one size are needed, not {first.shape[1:3]} and {second.shape[1:3]}")
    if not 0 <= overlap <= min(len(first), len(second)):
        raise UserError(f"an overlap of {overlap} does not fit clips of {len(first)} and {len(second)} frames")
    w = (np.arange(1, overlap + 1) / (overlap + 1))[:, None, None, None]
    mixed = (1 - w) * first[len(first) - overlap :] + w * second[:overlap]
    return np.concatenate([first[: len(first) - overlap], mixed.round().astype(np.uint8), second[overlap:]])


def stamp(frames: np.ndarray, text: str = "generated") -> np.ndarray:
    """A copy of the frames with a visible mark: light letters on a dark label in the lower right corner.

    The letters are a sixteenth of the height, and never smaller than can be read: a frame of 32 pixels would be mostly label.

    Raises:
        UserError: for a text that is empty, has several lines, does not fit, or that the font cannot write.
    """
    _check_text(text)
    height, width = frames.shape[1:3]
    font = ImageFont.load_default(max(height / 16, SMALLEST))
    if "\n" in text:
        raise UserError("a mark has one line: leave the line breaks out")
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    gap = max(height // 64, 1)
    label = Image.new("RGB", (right - left + 2 * gap, bottom - top + 2 * gap), PAPER)
    ImageDraw.Draw(label).text((gap - left, gap - top), text, INK, font)
    pixels = np.asarray(label)
    if label.width > width or label.height > height:
        raise UserError(f"the mark does not fit into {width} x {height} pixels: enlarge the frames, or use fewer words")
    marked = frames.copy()
    marked[:, height - pixels.shape[0] :, width - pixels.shape[1] :] = pixels
    return marked


def _check_text(text: str) -> None:
    if not text.strip():
        raise UserError("the text is empty: write what the picture should say")
    if not text.replace("\n", "").isascii():
        raise UserError(f"the font has no letters for {text!r}: use plain Latin ones")
