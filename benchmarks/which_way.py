"""Do circles turn as they are told? `python benchmarks/which_way.py [WEIGHTS ...]`

No judge is asked. 108 captions, nine subjects in red, green and blue on plain ground and in snow, each either way: in each key
frame the middle of what has the colour, and its angle about the middle of the frame. A circle's key frames lie 112.5° apart; a
clip is right if all three steps are that, 40° more or less, the way it was told, and wrong if they are so the other way. Of
real clips and of each folder of weights (default: the bundled ones) prints how many are right, wrong, and no circle at all.
"""

import argparse
import math

import torch
from torch import Tensor

from t2vlearn import TextToVideoPipeline
from t2vlearn.circles import WAYS
from t2vlearn.world import Actor, Scene, render
from t2vlearn.world.scenes import SUBJECTS

TINTS = {"red": (1.0, -0.5, -0.5), "green": (-0.5, 1.0, -0.5), "blue": (-0.5, -0.5, 1.0)}
PLACES = {"plain": "on a plain background", "snow": "in the snow"}
STEP, SLACK = math.radians(112.5), math.radians(40)


def angles(frames: Tensor, colour: str) -> Tensor:
    """Frames (n, 3, k, s, s) -> angle of what has the colour about the middle, clockwise on the screen: (n, k)."""
    tint = (frames * torch.tensor(TINTS[colour]).view(1, 3, 1, 1, 1)).sum(1)
    weight = (tint - tint.median(1, keepdim=True).values - 0.15).clamp(min=0)  # what does not stay where it is
    centres = (torch.arange(frames.shape[-1]) + 0.5) / frames.shape[-1] - 0.5
    return torch.atan2((weight * centres[:, None]).sum((-1, -2)), (weight * centres).sum((-1, -2)))


def verdicts(frames: Tensor, colour: str, way: str) -> Tensor:
    """How many of the clips go the right way, the wrong way, and no way round: (3,)."""
    found = angles(frames, colour)
    told = STEP if way == WAYS[0] else -STEP
    off = [
        (torch.remainder(found.diff(dim=1) - step + math.pi, 2 * math.pi) - math.pi).abs().amax(1)
        for step in (told, -told)
    ]
    right, wrong = (value < SLACK for value in off)
    return torch.stack([right.sum(), wrong.sum(), (~right & ~wrong).sum()])


@torch.no_grad()
def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="folders that training wrote; default: the bundled weights")
    names = parser.parse_args().weights or [""]
    pipes = {name or "bundled weights": TextToVideoPipeline.from_pretrained(name or None) for name in names}
    counts = {name: torch.zeros(3, dtype=torch.long) for name in ("real clips", *pipes)}
    for way in WAYS:
        for colour in TINTS:
            asked = [(subject, place) for subject in SUBJECTS for place in PLACES]
            scenes = [Scene((Actor(subject, colour, "small", way),), place) for subject, place in asked]
            captions = [f"a {colour} {subject} {way} {PLACES[place]}" for subject, place in asked]
            counts["real clips"] += verdicts(render(scenes, 16, 32, 3, [0, 5, 10, 15]), colour, way)
            for name, pipe in pipes.items():
                text, null = pipe.encode_prompt(captions)
                _, noise = pipe.initial_noise(range(len(captions)))
                latents = pipe.visual_encoder.generate(
                    pipe.diffusion, text, null, noise, 20, pipe.config.guidance_scale
                )
                counts[name] += verdicts(pipe.visual_encoder.codec.decode(latents), colour, way)
    print("right  wrong  neither")
    for name, row in counts.items():
        print("{:5}  {:5}  {:7}".format(*row.tolist()), "", name)


if __name__ == "__main__":
    main()
