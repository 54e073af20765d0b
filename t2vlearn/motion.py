"""Where the actor is, read from pixels, and how well a law of motion fits it.

No network is asked: what differs from the ground is the actor. So the reader knows nothing of prompts, and its own error can
be measured on rendered clips, whose true path `world.find_paths` gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from t2vlearn.codec import translate

#: A pixel that differs from the ground by less than the first counts as ground, by more than the second as actor.
GROUND, ACTOR = 0.1, 0.3


def ground(frames: np.ndarray) -> np.ndarray:
    """The picture behind the actor: uint8 frames (f, h, w, 3) -> float (h, w, 3) in [0, 255].

    The median over frames is wrong wherever the actor stands for half of the clip. So where the frames' border is plain (all
    but a tenth of it within 8 steps of its median colour), that colour is the ground; else the median over frames is.
    """
    ring = np.ones(frames.shape[1:3], bool)
    ring[1:-1, 1:-1] = False
    border = frames[:, ring].reshape(-1, 3).astype(float)
    colour = np.median(border, axis=0)
    if np.quantile(np.abs(border - colour).max(1), 0.9) <= 8:
        return np.broadcast_to(colour, frames.shape[1:]).copy()
    return np.median(frames, axis=0)


def track(frames: np.ndarray, background: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The actor's centre and size in each frame: c = sum_p w_p p / sum_p w_p and s = sqrt(sum_p w_p).

    w_p = clip((d_p - 0.1) / 0.2, 0, 1) with d_p the largest difference of a channel from the ground, in [0, 1]: a pixel that is
    covered in part counts in part, which makes the centre finer than a pixel.

    Args:
        frames: uint8 (f, h, w, 3), with one actor.
        background: (h, w, 3), 0 to 255; default: `ground` of the frames.

    Returns:
        Centres (f, 2), x to the right and y down, and the sides (f,) of squares of equal area; the frame is the unit square.
        NaN where nothing stands out from the ground.
    """
    behind = ground(frames) if background is None else background
    d = np.abs(frames.astype(float) - behind).max(-1) / 255  # (f, h, w)
    w = np.clip((d - GROUND) / (ACTOR - GROUND), 0, 1)
    mass = w.sum((1, 2))
    height, width = w.shape[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (w.sum(1) * (np.arange(width) + 0.5)).sum(1) / mass / width
        y = (w.sum(2) * (np.arange(height) + 0.5)).sum(1) / mass / height
    return np.stack([x, y], 1), np.where(mass > 0, np.sqrt(mass / (height * width)), np.nan)


def residual(positions: np.ndarray, degree: int) -> float:
    """Root mean square distance of positions (f,) from the polynomial of best fit: degree 1 uniform motion, 2 a free fall.

    It has the unit of the positions; NaN if one of them is.
    """
    if not np.isfinite(positions).all():
        return float("nan")
    times = np.linspace(-1, 1, len(positions))
    return float(np.sqrt(np.mean((positions - np.polyval(np.polyfit(times, positions, degree), times)) ** 2)))


def velocity_error(seen: np.ndarray, true: np.ndarray) -> float:
    """Mean over frames of |v_hat - v|, v the step from each frame to the next: positions (f,) or (f, 2), in their unit a frame.

    Kang et al. 2024, "How Far Is Video Generation from World Model: A Physical Law Perspective", measure uniform
    motion so. NaN if a position is.
    """
    apart = np.diff(seen, axis=0) - np.diff(true, axis=0)
    return float(np.abs(apart).mean() if apart.ndim == 1 else np.linalg.norm(apart, axis=1).mean())


def move_on(frames: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Newton's first law: what frames with those numbers show if the actor moves on as in the given ones.

    c_n = c_0 + n v, by least squares over the given frames; the last of them is moved by c_n - c_last.

    Args:
        frames: uint8 (f, h, w, 3), the first frames of a clip on plain ground, at least two.
        numbers: frame numbers, from 0 up.

    Returns:
        uint8 (len(numbers), h, w, 3).

    Raises:
        ValueError: for one frame, or if nothing stands out from the ground in some frame.
    """
    if len(frames) < 2:
        raise ValueError("one frame shows no motion: give at least two")
    centres, _ = track(frames)
    if not np.isfinite(centres).all():
        raise ValueError("in some frame nothing stands out from the ground: give frames with one actor on plain ground")
    fit = np.polyfit(np.arange(len(frames)), centres, 1)  # (2, 2): v, c_0
    shifts = [(fit[1] + n * fit[0] - centres[-1]) * frames.shape[2:0:-1] for n in numbers]  # in pixels
    last = torch.from_numpy(frames[-1:].copy()).permute(0, 3, 1, 2).float()
    moved = translate(last.expand(len(numbers), -1, -1, -1), torch.tensor(np.array(shifts), dtype=torch.float32))
    return moved.round().byte().permute(0, 2, 3, 1).numpy()
