"""Does it move as the world does? `python benchmarks/physics.py [--clips 60] [--steps 10]`

Prints two tables and writes benchmarks/results/physics.json. All clips on the plain place, where the reader of positions
(`t2vlearn.motion`) is good to a twentieth of a pixel; all lengths in pixels of 32.

1. Text to video: how far the actor's path is from the line (or, for "jumps", from the parabola) of best fit.
2. Given the first four frames of a rendered clip: how far the velocity is from that of the true continuation (Kang et al.
   2024), for speeds and sizes inside the training range and outside, in three ways: continued with guidance 3 or 1, and
   around key frames that are the last given frame, moved on by the velocity that the reader sees in the four.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as bar
from rich.table import Table

from t2vlearn import TextToVideoPipeline
from t2vlearn.motion import move_on, residual, track, velocity_error
from t2vlearn.pipeline import BUNDLED, to_uint8
from t2vlearn.storage import digest_of
from t2vlearn.world import Actor, Scene, find_paths, render

RESULT = Path(__file__).parent / "results" / "physics.json"
SEED = 20_000_000
SIZE, FRAMES, GIVEN = 32, 16, 4
#: Rigid things: their centre of area stands still in them.
SUBJECTS, COLOURS = ("circle", "square", "star", "heart"), ("red", "green", "blue", "purple")
#: action -> axis of its motion, degree of its law.
LAWS = {"moves right": (0, 1), "moves left": (0, 1), "moves up": (1, 1), "moves down": (1, 1), "jumps": (1, 2)}
#: name -> factor of the speed, half height as a share of the frame (None: as in training).
RANGES = {
    "inside": (1.0, None),
    "half as fast": (0.5, None),
    "1.5 times as fast": (1.5, None),
    "smaller": (1.0, 0.10),
    "larger": (1.0, 0.30),
}
WAYS = ("guidance 3", "guidance 1", "key frames moved on")


def scenes_of(action: str, n: int) -> list[Scene]:
    """Small and big things by turns."""
    return [
        Scene((Actor(SUBJECTS[i % 4], COLOURS[i // 4 % 4], ("small", "big")[i // 2 % 2], action),), "plain")
        for i in range(n)
    ]


def out_of_range(scenes: list[Scene], factor: float, half: float | None) -> list:
    """Paths to the right or left at other speeds, from one edge on, and of other sizes."""
    changed = []
    for (path,) in find_paths(scenes, FRAMES, SEED):
        u = torch.linspace(0, 1, FRAMES)
        size = path.size if half is None else torch.full_like(path.size, half)
        speed = float(path.x[-1] - path.x[0]) * factor
        edge = float(size[0]) + 0.02
        x = (edge if path.facing > 0 else 1 - edge) + speed * u if factor != 1 or half else path.x
        changed.append([path._replace(x=x, y=torch.full_like(path.y, 0.5), size=size)])
    return changed


def text_to_video(pipe: TextToVideoPipeline, n: int, steps: int) -> dict:
    """Action -> residuals of generated and rendered clips and of these after the codec, medians over clips."""
    rows, codec = {}, pipe.visual_encoder.codec
    for action, (axis, degree) in bar(LAWS.items(), description="text to video", show_speed=False):
        scenes = scenes_of(action, n)
        prompts = [
            f"a {s.actors[0].size} {s.actors[0].colour} {s.actors[0].subject} {action} on a plain background"
            for s in scenes
        ]
        real = render(scenes, FRAMES, SIZE, SEED)
        with torch.no_grad():
            clips = {"rendered": to_uint8(real), "codec": to_uint8(codec.decode(codec.encode(real)))}
        clips["generated"] = pipe(prompts, steps, seed=SEED).frames
        rows[action] = {
            name: float(np.median([residual(track(f)[0][:, axis], degree) for f in frames])) * SIZE
            for name, frames in clips.items()
        } | {"clips": n}
    return rows


def continued(pipe: TextToVideoPipeline, n: int, steps: int) -> dict:
    """Range -> way -> velocity errors of continuations, in pixels a frame and as a share of the true speed."""
    rows = {}
    half = n // 2
    for name, (factor, size) in bar(RANGES.items(), description="continuations", show_speed=False):
        scenes = scenes_of("moves right", half) + scenes_of("moves left", n - half)
        paths = out_of_range(scenes, factor, size)
        real = to_uint8(render(scenes, FRAMES, SIZE, SEED, paths=paths))
        made = {way: [] for way in WAYS}
        for i, scene in enumerate(scenes):
            actor = scene.actors[0]
            prompt = f"a {actor.colour} {actor.subject} {actor.action} on a plain background"
            first = real[i, :GIVEN]
            keyframes = move_on(first, pipe.keyframe_numbers)
            made["guidance 3"].append(pipe(prompt, steps, 3.0, seed=SEED + i, continue_from=first).frames[0])
            made["guidance 1"].append(pipe(prompt, steps, 1.0, seed=SEED + i, continue_from=first).frames[0])
            made["key frames moved on"].append(pipe(prompt, steps, seed=SEED + i, keyframes=keyframes).frames[0])
        made["rendered (floor)"] = list(real)
        rows[name] = {}
        for way, clips in made.items():
            errors, shares, lost = [], [], 0
            for clip, (path,) in zip(clips, paths, strict=True):
                true = path.x.numpy()
                inside = np.flatnonzero((true > path.size.numpy()) & (true < 1 - path.size.numpy()))
                after = inside[inside >= GIVEN - 1]  # the step out of the last given frame counts
                seen = track(clip)[0][:, 0]
                error = velocity_error(seen[after], true[after]) * SIZE
                if not np.isfinite(error):
                    lost += 1
                    continue
                errors.append(error)
                shares.append(error / (abs(true[1] - true[0]) * SIZE))
            rows[name][way] = {
                "pixels a frame": float(np.mean(errors)), "share of the speed": float(np.mean(shares)),
                "clips": len(errors), "lost": lost,
            }  # fmt: skip
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60, help="clips a row")
    parser.add_argument("--steps", type=int, default=10, help="sampling steps")
    options = parser.parse_args()
    pipe, start = TextToVideoPipeline.from_pretrained(), time.process_time()
    result = {
        "weights": digest_of(BUNDLED),
        "clips": options.clips,
        "steps": options.steps,
        "text to video": text_to_video(pipe, options.clips, options.steps),
        "continued": continued(pipe, options.clips, options.steps),
    }
    result["cpu minutes"] = (time.process_time() - start) / 60
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    table = Table("residual in pixels", "rendered", "after the codec", "generated")
    for action, row in result["text to video"].items():
        table.add_row(action, *(f"{row[key]:.3f}" for key in ("rendered", "codec", "generated")))
    other = Table("velocity error, share of the speed", "rendered (floor)", *WAYS)
    for name, row in result["continued"].items():
        other.add_row(name, *(f"{row[way]['share of the speed']:.3f}" for way in ("rendered (floor)", *WAYS)))
    Console().print(table, other)


if __name__ == "__main__":
    main()
