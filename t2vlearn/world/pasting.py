"""Drawings as actors: a still picture goes where a scene's subject would go, and the caption calls it by a new word.

A few drawings become as many captioned clips as are needed, on every place and with every action.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from t2vlearn.errors import UserError
from t2vlearn.world.captions import Caption, names
from t2vlearn.world.paths import find_paths
from t2vlearn.world.render import RGB, draw_ball, draw_places
from t2vlearn.world.scenes import Scene

FINE = 4  # drawings are put on a grid so many times as fine, which is then averaged down
DRAWN, RIM = 42, 3  # pixels of a drawing that is put there, and of the outline around it


def cut_out(image: np.ndarray) -> np.ndarray:
    """A drawing on transparent or plain ground -> the drawing alone, centred: uint8 (s, s, 4), transparent around it.

    Without transparency, the ground is what has the colour of the top left corner, to within 24 of 255 steps.

    Args:
        image: uint8 (h, w, 3) or (h, w, 4).

    Raises:
        UserError: for another shape or type, or where nothing is drawn.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise UserError(f"a drawing is uint8 (h, w, 3) or (h, w, 4), not {image.dtype} {image.shape}")
    alpha = image[..., 3] if image.shape[2] == 4 else np.full(image.shape[:2], 255, np.uint8)
    if alpha.min() == 255:
        apart = np.abs(image[..., :3].astype(int) - image[0, 0, :3]).max(-1)
        alpha = (255 * (apart > 24)).astype(np.uint8)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not len(rows):
        raise UserError("the drawing is empty: draw something on transparent or plain ground")
    both = np.dstack([image[..., :3], alpha])[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(both.shape[:2])
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - both.shape[0]) // 2, (side - both.shape[1]) // 2
    square[top : top + both.shape[0], left : left + both.shape[1]] = both
    return square


def dress(drawing: np.ndarray, colour: str) -> Tensor:
    """A cut-out in the world's style: 48 x 48 pixels with a dark outline, what was coloured in one colour of the world.

    A pixel whose channels differ by more than a quarter counts as coloured. What is darker than most of it stays darker, down
    to a half; what is lighter does not stand out. Black, white and grey stay. (Why one colour? The codec draws what it was
    shown, and that had one colour each: chapter 15.)

    Args:
        drawing: uint8 (s, s, 4), see `cut_out`.
        colour: one of `COLOURS`.

    Returns:
        float32 (4, 48, 48): colours in [-1, 1] times alpha, then alpha.
    """
    picture = torch.from_numpy(drawing).permute(2, 0, 1) / 255
    picture = torch.cat([picture[:3] * picture[3:], picture[3:]])
    picture = F.pad(F.interpolate(picture[None], (DRAWN, DRAWN), mode="area")[0], (RIM,) * 4)
    alpha = picture[3]
    rgb = picture[:3] / alpha.clamp(min=1e-3)
    coat = torch.tensor(RGB[colour]).view(3, 1, 1)
    coloured = (rgb.amax(0) - rgb.amin(0) > 0.25) & (alpha > 0.5)
    if coloured.any():
        light = rgb.amax(0)
        shade = (light / light[coloured].median()).clamp(0.5, 1.0)
        rgb = torch.where(coloured, coat * shade, rgb)
    outline = F.max_pool2d(alpha[None], 2 * RIM + 1, 1, RIM)[0]
    rgb = rgb * alpha + coat * 0.28 * (1 - alpha)
    return torch.cat([(rgb * 2 - 1) * outline, outline[None]])


@torch.no_grad()
def paste(
    drawings: Sequence[np.ndarray],
    scenes: Sequence[Scene],
    num_frames: int = 16,
    size: int = 32,
    seed: int = 0,
    frames: Sequence[int] | None = None,
    start: int = 0,
) -> Tensor:
    """The clips that `render` would draw, with a drawing in the subject's stead; it faces right and turns as subjects do.

    Args:
        drawings: pictures of one character, see `cut_out`; clip number i shows number i mod m of them.
        scenes: scenes of one actor, whose subject does not matter.
        num_frames, size, seed, frames, start: see `render`.

    Returns:
        float32 (n, 3, f, h, w) in [-1, 1].

    Raises:
        UserError: without drawings, and for drawings that `cut_out` refuses.
        ValueError: for scenes of two actors.
    """
    if not len(drawings):
        raise UserError("no drawings: give at least one, such as a picture of 32 x 32 pixels")
    if any(len(scene.actors) > 1 for scene in scenes):
        raise ValueError("a drawing stands in for the subject of a scene with one actor")
    cut = [cut_out(image) for image in drawings]
    fine, paths = size * FINE, find_paths(scenes, num_frames, seed, frames, start)
    centres = (torch.arange(fine) + 0.5) / fine
    clips = draw_places(scenes, size, seed, start=start).unsqueeze(2).repeat(1, 1, len(paths[0][0].x), 1, 1)
    for i, ((path,), clip) in enumerate(zip(paths, clips)):
        picture = dress(cut[(start + i) % len(cut)], scenes[i].actors[0].colour).expand(len(path.x), -1, -1, -1)
        # local coordinates, as in `render`: the drawing fits [-1, 1] x [-1, 1], and its outline stands around it
        half = path.size[:, None] * (1 + 2 * RIM / DRAWN)
        x = (centres - path.x[:, None]) / half * path.facing  # (f, w)
        y = (centres - path.y[:, None]) / half
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
        drawn = F.avg_pool2d(F.grid_sample(picture, grid, align_corners=False), FINE).transpose(0, 1)  # (4, f, h, w)
        clip.mul_(1 - drawn[3]).add_(drawn[:3])
    draw_ball(clips, scenes, paths, num_frames, seed, frames, start)
    return clips


def caption_with(word: str, scene: Scene, seed: int = 0, **options) -> Caption:
    """An English caption of a scene with one actor, drawn by `seed`, in which `word` is the noun. `options`: see `caption`."""
    caption = scene.caption("en", seed, **options)
    nouns = [phrase for phrase, meant in names().items() if meant == ("subject", scene.actors[0].subject)]
    text = Caption(re.sub(rf"(?:(?:little|toy) )?\b(?:{'|'.join(nouns)})\b", lambda _: word, caption, count=1))
    text.named = caption.named
    return text
