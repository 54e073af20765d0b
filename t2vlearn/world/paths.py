"""Where actors go: scenes -> the path of each actor and of its ball, before anything is drawn.

Coordinates: the frame is the unit square, x to the right, y down. Clip time u runs from 0 (first frame) to 1 (last).
All that a scene leaves open (start, speed, phase) comes from uniform numbers drawn by (seed, index).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from t2vlearn.world.scenes import Scene

#: Half of a subject's height as a share of the frame: (smallest, range) for each size.
RADIUS = {"small": (0.145, 0.015), "big": (0.225, 0.02)}
GROWTH = (0.125, 0.25)  # half heights at both ends of "grows" and "shrinks"
BALL_RADIUS = 0.09
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


def clip_times(num_frames: int, frames: Sequence[int] | None = None) -> Tensor:
    """u = i / (num_frames - 1) of the frames with numbers i (default: all): (f,).

    Raises:
        ValueError: for no frames, or numbers that the clip does not have.
    """
    wanted = list(range(num_frames)) if frames is None else list(frames)
    if not wanted or not all(0 <= i < num_frames for i in wanted):
        raise ValueError(f"frames are numbers from 0 to {num_frames - 1}, at least one, not {wanted}")
    return torch.tensor(wanted, dtype=torch.float32) / max(num_frames - 1, 1)


@lru_cache(KEPT)
def _uniforms(seed: int, index: int) -> np.ndarray:
    return np.random.default_rng((seed, index)).random((3, UNIFORMS))


def uniforms(n: int, seed: int, start: int) -> np.ndarray:
    """Uniform numbers (n, 3, UNIFORMS) of clips number `start` on: for each one's first actor, its second, its place."""
    return np.stack([_uniforms(seed, start + i) for i in range(n)])


def find_paths(
    scenes: Sequence[Scene], num_frames: int = 16, seed: int = 0, frames: Sequence[int] | None = None, start: int = 0
) -> list[list[Path]]:
    """Where `render`, called with the same arguments, draws the actors of each scene: a `Path` each."""
    times = tuple(clip_times(num_frames, frames).tolist())
    remembered = [_paths_of(scene, seed, start + i, times) for i, scene in enumerate(scenes)]
    # Copies: whoever changes one must not change the next clip.
    return [[_copy(path) for path in paths] for paths in remembered]


def _copy(path: Path) -> Path:
    x, y, size = (value.clone() for value in path[:3])
    return Path(x, y, size, path.facing, path.ball and tuple(value.clone() for value in path.ball))  # type: ignore[arg-type]


@lru_cache(KEPT)
def _paths_of(scene: Scene, seed: int, index: int, times: tuple[float, ...]) -> list[Path]:
    u, found = torch.tensor(times), []
    for actor, region, r in zip(scene.actors, regions(scene), _uniforms(seed, index)):
        low, spread = RADIUS[actor.size]
        found.append(_path(actor.action, region[4] * (low + spread * float(r[0])), region, u, r))
    return found
