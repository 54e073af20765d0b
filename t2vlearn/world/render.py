"""The renderer: scenes -> clips, in torch, on whatever device trains.

Coordinates: the frame is the unit square, x to the right, y down. Clip time u runs from 0 (first frame) to 1 (last).
All that a scene leaves open (start, speed, phase, the tree's side) comes from uniform numbers drawn by (seed, index).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from t2vlearn.world.paths import Path, clip_times, find_paths, uniforms
from t2vlearn.world.places import BACKGROUNDS
from t2vlearn.world.scenes import SUBJECTS, Scene
from t2vlearn.world.sprites import INK, SPRITES, coverage

RGB = {
    "red": (0.90, 0.12, 0.14),
    "yellow": (1.00, 0.83, 0.05),
    "green": (0.05, 0.60, 0.22),
    "blue": (0.12, 0.36, 0.92),
    "purple": (0.62, 0.20, 0.78),
    "brown": (0.56, 0.33, 0.14),
}
OUTLINE = 0.13  # in units of the half height
CYCLE = 15 / 4  # leg, tail, wing and wheel cycles a clip: four frames each in a clip of 16


def _signed(colour: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]. Mixing by coverage commutes with this, so it is applied to colours, not to finished clips."""
    return colour * 2 - 1


def _tones(rgb: Tensor) -> dict[str, Tensor]:
    return {"coat": rgb, "dark": rgb * 0.62, "light": rgb + (1 - rgb) * 0.72, "outline": rgb * 0.28}


class _Sprite(NamedTuple):
    """One thing in a clip: centre and half height (f,), facing, RGB, where its cycle starts (in cycles), how far legs swing."""

    clip: int
    x: Tensor
    y: Tensor
    size: Tensor
    facing: float
    rgb: tuple[float, float, float]
    start: float
    swing: float


def _draw(canvas: Tensor, name: str, rows: list[_Sprite], size: int, pad: int, u: Tensor) -> None:
    """Draw one kind of sprite onto `canvas` (3, n, f, size + 2 pad, size + 2 pad): only inside a window around it."""
    device, frames, width = canvas.device, canvas.shape[2], canvas.shape[-1]
    clip = torch.tensor([row.clip for row in rows], device=device)
    centre_x, centre_y, half = torch.stack([torch.stack(row[1:4]) for row in rows], 1).to(device)[..., None, None]
    numbers = torch.tensor(
        [(row.facing, row.start, row.swing, *row.rgb) for row in rows], dtype=canvas.dtype, device=device
    )
    facing, start, swing = numbers[:, :3].T[..., None, None, None]
    phase = 2 * math.pi * (start + CYCLE * u.to(device)[:, None, None])  # (g, f, 1, 1), as centre_x and half
    reach = 1 + OUTLINE + 0.05
    window = math.ceil(2 * reach * float(half.max()) * size) + 2
    # Integer window corners; the sub-pixel rest stays in the local coordinates.
    corner_x = (centre_x * size - window / 2).floor().long().clamp(-pad, size + pad - window)
    corner_y = (centre_y * size - window / 2).floor().long().clamp(-pad, size + pad - window)
    steps, scale = torch.arange(window, device=device), half * size  # pixels a local unit
    x = (corner_x + steps + 0.5 - centre_x * size) / scale * facing  # (g, f, 1, w)
    y = (corner_y + steps[:, None] + 0.5 - centre_y * size) / scale  # (g, f, h, 1)
    layers = SPRITES[name](x, y, swing * torch.sin(phase), phase)

    row = corner_y + pad + steps[:, None]
    base = (clip[:, None] * frames + torch.arange(frames, device=device))[..., None, None] * width
    index = ((base + row) * width + corner_x + pad + steps).flatten()  # pixels of all windows
    flat = canvas.view(3, -1)
    patch = flat.index_select(1, index).view(3, len(rows), frames, window, window)

    rgb = numbers[:, 3:].T[..., None, None, None]
    tones = {tone: _signed(colour) for tone, colour in _tones(rgb).items()}
    pixel = 1 / scale
    painted = [(layers[0][0] - OUTLINE, "outline"), *layers]
    for d, tone in painted:
        colour = (
            tones[tone] if isinstance(tone, str) else _signed(torch.tensor(tone, device=device).view(3, 1, 1, 1, 1))
        )
        patch.lerp_(colour.expand_as(patch), coverage(d, pixel).expand_as(patch))
    for channel in range(3):
        flat[channel].scatter_(0, index, patch[channel].flatten())


def _pad(size: int) -> int:
    """A margin, so that the window of a subject at the edge still fits."""
    return math.ceil(0.32 * size) + 2


def _ball_of(path: Path, clip: int, r: np.ndarray) -> _Sprite:
    assert path.ball is not None
    return _Sprite(clip, *path.ball, 1.0, INK, r[6], 0.0)


@torch.no_grad()
def draw_places(
    scenes: Sequence[Scene], size: int = 64, seed: int = 0, device: str | torch.device = "cpu", start: int = 0
) -> Tensor:
    """The scenes' places without their actors, as `render` draws them: (n, 3, h, w) in [-1, 1]."""
    numbers, images = uniforms(len(scenes), seed, start), torch.empty(len(scenes), 3, size, size, device=device)
    centres = (torch.arange(size, device=device) + 0.5) / size
    for place, background in BACKGROUNDS.items():
        rows = [i for i, scene in enumerate(scenes) if scene.place == place]
        if rows:
            r = torch.tensor(numbers[rows, 2, :3], dtype=torch.float32, device=device).T[..., None, None]
            x, y = centres.view(1, 1, -1).expand(len(rows), 1, -1), centres.view(1, -1, 1).expand(len(rows), -1, 1)
            images[rows] = _signed(background(x, y, r, 1 / size))
    return images


@torch.no_grad()
def draw_ball(
    clips: Tensor,
    scenes: Sequence[Scene],
    paths: Sequence[Sequence[Path]],
    num_frames: int = 16,
    seed: int = 0,
    frames: Sequence[int] | None = None,
    start: int = 0,
) -> None:
    """Add the ball of each first actor that plays with one to `clips` (n, 3, f, h, w), in place."""
    size, numbers = clips.shape[-1], uniforms(len(scenes), seed, start)
    rows = [_ball_of(path[0], i, r[0]) for i, (path, r) in enumerate(zip(paths, numbers)) if path[0].ball is not None]
    if rows:
        pad = _pad(size)
        canvas = F.pad(clips.transpose(0, 1), (pad,) * 4).contiguous()
        _draw(canvas, "ball", rows, size, pad, clip_times(num_frames, frames))
        clips.copy_(canvas[..., pad:-pad, pad:-pad].transpose(0, 1))


@torch.no_grad()
def render(
    scenes: Sequence[Scene],
    num_frames: int = 16,
    size: int = 64,
    seed: int = 0,
    frames: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    start: int = 0,
    paths: Sequence[Sequence[Path]] | None = None,
) -> Tensor:
    """Draw scenes as clips.

    Args:
        scenes: what to draw.
        num_frames: length of a clip; its motion always spans the whole clip.
        size: height and width in pixels.
        seed: with the scene's index (`start` + position in the list), gives all that the scene leaves open.
        frames: indices of the frames to draw (default: all), for key frames.
        device: where to draw.
        start: index of the first scene, so that a long list can be drawn in parts.
        paths: where the actors go (default: `find_paths`), for motions that the world does not have.

    Returns:
        float32 (n, 3, f, h, w) in [-1, 1].
    """
    u, numbers = clip_times(num_frames, frames), uniforms(len(scenes), seed, start)
    paths = find_paths(scenes, num_frames, seed, frames, start) if paths is None else paths
    pad = _pad(size)
    canvas = torch.empty(3, len(scenes), len(u), size + 2 * pad, size + 2 * pad, device=device)
    inside = canvas[..., pad:-pad, pad:-pad]
    inside[:] = draw_places(scenes, size, seed, device, start).transpose(0, 1).unsqueeze(2)  # the same in every frame

    for slot in range(2):  # the second actor stands in front of the first, a ball in front of its player
        groups: dict[str, list[_Sprite]] = {}
        for i, scene in enumerate(scenes):
            if slot >= len(scene.actors):
                continue
            actor, r, path = scene.actors[slot], numbers[i, slot], paths[i][slot]
            swing = 1.0 if actor.action.startswith(("moves", "circles", "plays")) else 0.35
            body = _Sprite(i, *path[:4], RGB[actor.colour], r[6], swing)
            groups.setdefault(actor.subject, []).append(body)
            if path.ball is not None:
                groups.setdefault("ball", []).append(_ball_of(path, i, r))
        for name in (*SUBJECTS, "ball"):
            if name in groups:
                _draw(canvas, name, groups[name], size, pad, u)
    return inside.transpose(0, 1).contiguous()
