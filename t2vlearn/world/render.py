"""The renderer: scenes -> clips, in torch, on whatever device trains.

Coordinates: the frame is the unit square, x to the right, y down. Clip time u runs from 0 (first frame) to 1 (last).
All that a scene leaves open (start, speed, phase, the tree's side) comes from uniform numbers drawn by (seed, index).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
#: Half of a subject's height as a share of the frame: (smallest, range) for each size.
RADIUS = {"small": (0.145, 0.015), "big": (0.225, 0.02)}
GROWTH = (0.125, 0.25)  # half heights at both ends of "grows" and "shrinks"
OUTLINE = 0.13  # in units of the half height
BALL_RADIUS = 0.09
CYCLE = 15 / 4  # leg, tail, wing and wheel cycles a clip: four frames each in a clip of 16
UNIFORMS = 10  # random numbers an actor or a place takes
KEPT = 1024  # clips whose numbers and paths are remembered: a training step asks for the same ones two to four times

#: Where actors live, as (x0, x1, y0, y1, scale): one alone has the frame; two share it side by side or in two lanes.
ALONE = ((0.0, 1.0, 0.0, 1.0, 1.0),)
SIDE_BY_SIDE = ((0.0, 0.53, 0.0, 1.0, 0.72), (0.47, 1.0, 0.0, 1.0, 0.72))
LANES = ((0.0, 1.0, 0.0, 0.53, 0.72), (0.0, 1.0, 0.47, 1.0, 0.72))
HORIZONTAL = ("moves left", "moves right", "plays with a ball")


def regions(scene: Scene) -> tuple[tuple[float, ...], ...]:
    """Where each of a scene's actors lives: (x0, x1, y0, y1, scale)."""
    if len(scene.actors) == 1:
        return ALONE
    return LANES if any(actor.action in HORIZONTAL for actor in scene.actors) else SIDE_BY_SIDE


class Path(NamedTuple):
    """Centre (x, y) and half height (f,) of an actor at each clip time, its facing (1 or -1); the ball's x, y, half height."""

    x: Tensor
    y: Tensor
    size: Tensor
    facing: float
    ball: tuple[Tensor, Tensor, Tensor] | None


def _path(action: str, radius: float, region, u: Tensor, r: np.ndarray) -> Path:
    """Where an action leads at the clip times `u` (f,); `r` are the uniform numbers that fill in what it leaves open."""
    x0, x1, y0, y1, scale = region
    margin = radius + 0.02
    half_x, half_y = max((x1 - x0) / 2 - margin, 0.02), max((y1 - y0) / 2 - margin, 0.02)  # reach of the centre
    mid_x, mid_y = (x0 + x1) / 2, (y0 + y1) / 2
    x = torch.full_like(u, mid_x + half_x * (1.6 * r[1] - 0.8))
    y = torch.full_like(u, mid_y + half_y * (1.1 * r[2] - 0.3))
    size = torch.full_like(u, radius)
    facing = 1.0 if r[3] < 0.5 else -1.0
    ball = None
    if action in ("moves left", "moves right"):
        facing = 1.0 if action == "moves right" else -1.0
        x = mid_x + facing * half_x * (0.8 + 0.2 * r[1]) * (2 * u - 1)
    elif action in ("moves up", "moves down"):
        sign = 1.0 if action == "moves down" else -1.0
        y = mid_y + sign * half_y * (0.8 + 0.2 * r[2]) * (2 * u - 1)
    elif action.startswith("circles"):
        # y points down, so growing angles run clockwise on the screen
        sign = 1.0 if action == "circles clockwise" else -1.0
        orbit = min(half_x, half_y) * (0.8 + 0.2 * r[4])
        angle = 2 * math.pi * (r[5] + sign * u * 15 / 16)
        x, y = mid_x + orbit * torch.cos(angle), mid_y + orbit * torch.sin(angle)
    elif action == "jumps":
        # y = y_ground - 4 h u (1 - u): a true parabola, the height under constant gravity
        ground = mid_y + half_y * (0.85 + 0.1 * r[2])
        height = 2 * half_y * (0.75 + 0.15 * r[4])
        y = ground - 4 * height * u * (1 - u)
    elif action in ("grows", "shrinks"):
        small, large = (scale * g * (0.97 + 0.06 * r[4]) for g in GROWTH)
        start, end = (small, large) if action == "grows" else (large, small)
        size = start + (end - start) * u
    else:
        assert action == "plays with a ball", action
        # The subject hops on one side; the ball goes out and back once, bouncing four times.
        ball_radius = BALL_RADIUS * scale**0.5
        x = torch.full_like(u, mid_x - facing * (half_x * (0.75 + 0.2 * r[1])))
        floor = y1 - margin - 0.08 * r[2] * (y1 - y0)
        hop = (torch.sin(4 * math.pi * u + math.pi * r[4])).abs()
        y = floor - 0.06 * scale * hop
        near = x + facing * (radius + ball_radius)
        far = mid_x + facing * ((x1 - x0) / 2 - ball_radius - 0.02)
        swing = 1 - (2 * torch.remainder(u + 0.25 * r[5], 1.0) - 1).abs()  # 0 -> 1 -> 0
        bounce = torch.remainder(4 * u + r[5], 1.0)
        ball_y = floor + radius - ball_radius - 4 * 0.3 * (y1 - y0) * bounce * (1 - bounce)
        ball = (near + (far - near) * swing, ball_y, torch.full_like(u, ball_radius))
    return Path(x, y, size, facing, ball)


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


def _wanted(num_frames: int, frames: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(range(num_frames) if frames is None else frames)


@lru_cache(KEPT)
def _times(num_frames: int, wanted: tuple[int, ...]) -> Tensor:
    if not wanted or not all(0 <= i < num_frames for i in wanted):
        raise ValueError(f"frames are numbers from 0 to {num_frames - 1}, at least one, not {list(wanted)}")
    return torch.tensor(wanted, dtype=torch.float32) / max(num_frames - 1, 1)


@lru_cache(KEPT)
def _uniforms(seed: int, index: int) -> np.ndarray:
    """Uniform numbers (3, UNIFORMS) of a clip: for its first actor, its second, its place."""
    return np.random.default_rng((seed, index)).random((3, UNIFORMS))


def _numbers(n: int, seed: int, start: int) -> np.ndarray:
    """The same of clips one after the other: (n, 3, UNIFORMS)."""
    return np.stack([_uniforms(seed, start + i) for i in range(n)])


def _pad(size: int) -> int:
    """A margin, so that the window of a subject at the edge still fits."""
    return math.ceil(0.32 * size) + 2


def _ball_of(path: Path, clip: int, r: np.ndarray) -> _Sprite:
    assert path.ball is not None
    return _Sprite(clip, *path.ball, 1.0, INK, r[6], 0.0)


def find_paths(
    scenes: Sequence[Scene], num_frames: int = 16, seed: int = 0, frames: Sequence[int] | None = None, start: int = 0
) -> list[list[Path]]:
    """Where `render`, called with the same arguments, draws the actors of each scene: a `Path` each."""
    wanted = _wanted(num_frames, frames)
    remembered = [_paths_of(scene, num_frames, seed, wanted, start + i) for i, scene in enumerate(scenes)]
    # Copies: whoever changes one must not change the next clip.
    return [[_copy(path) for path in paths] for paths in remembered]


def _copy(path: Path) -> Path:
    x, y, size = (value.clone() for value in path[:3])
    return Path(x, y, size, path.facing, path.ball and tuple(value.clone() for value in path.ball))  # type: ignore[arg-type]


@lru_cache(KEPT)
def _paths_of(scene: Scene, num_frames: int, seed: int, wanted: tuple[int, ...], index: int) -> list[Path]:
    u, found = _times(num_frames, wanted), []
    for actor, region, r in zip(scene.actors, regions(scene), _uniforms(seed, index)):
        low, spread = RADIUS[actor.size]
        found.append(_path(actor.action, region[4] * (low + spread * float(r[0])), region, u, r))
    return found


@torch.no_grad()
def draw_places(
    scenes: Sequence[Scene], size: int = 64, seed: int = 0, device: str | torch.device = "cpu", start: int = 0
) -> Tensor:
    """The scenes' places without their actors, as `render` draws them: (n, 3, h, w) in [-1, 1]."""
    numbers, images = _numbers(len(scenes), seed, start), torch.empty(len(scenes), 3, size, size, device=device)
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
    size, numbers = clips.shape[-1], _numbers(len(scenes), seed, start)
    rows = [_ball_of(path[0], i, r[0]) for i, (path, r) in enumerate(zip(paths, numbers)) if path[0].ball is not None]
    if rows:
        pad = _pad(size)
        canvas = F.pad(clips.transpose(0, 1), (pad,) * 4).contiguous()
        _draw(canvas, "ball", rows, size, pad, _times(num_frames, _wanted(num_frames, frames)))
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
    u, numbers = _times(num_frames, _wanted(num_frames, frames)), _numbers(len(scenes), seed, start)
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
