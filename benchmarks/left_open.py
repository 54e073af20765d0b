"""Does a colour that the prompt leaves open stay the same? `python benchmarks/left_open.py [--samples 400]`

Prompts in both languages that name a subject, what it does and where, and no colour; without a ball, on a plain background
or in the snow, where nothing else is colourful. A frame's hue is the mean angle of its colourful pixels, weighted by their
chroma. Key frames differ where two of their hues are more than 16 degrees apart (the world's nearest two are 22, yellow and
brown); a frame between them has a third colour if it is so far from both of its neighbours among them. So are read: real
clips, clips of the prompts as they were typed, and of the prompts extended (`extend_prompt`). The judge says how many show
what was typed. Prints a table and writes it into benchmarks/results/left-open.json. Five minutes of two cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.colors import rgb_to_hsv
from rich.progress import Progress

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import wilson
from t2vlearn.pipeline import BUNDLED, to_uint8
from t2vlearn.storage import digest_of
from t2vlearn.world import extend_prompt, parse_prompt, render, sample_scene

RESULT = Path(__file__).parent / "results" / "left-open.json"
SEED, BATCH = 4000, 25
COLOURFUL, APART, LEAST = 0.3, 16.0, 4.0  # chroma of a pixel that counts; degrees; chroma that a frame needs in all


def prompts(n: int):
    """The first n scenes that will do, and a prompt for each."""
    scenes, texts, index = [], [], 0
    while len(texts) < n:
        scene = sample_scene(index, "train", SEED)
        index += 1
        if scene.place not in ("plain", "snow") or scene.actors[0].action == "plays with a ball":
            continue
        drawn = (scene.caption(("en", "zh")[len(texts) % 2], seed) for seed in range(100))
        wanted = {"subject", "action", "place"}
        fitting = [text for text in drawn if wanted <= text.named and "colour" not in text.named]
        if fitting:
            scenes.append(scene)
            texts.append(str(fitting[0]))
    return scenes, texts


def hues(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (f, h, w, 3) in [0, 1] -> hue of each in degrees, and whether it has enough colour to have one.

    The angle of sum_p c_p e^(i h_p), h the hue and c = max - min of each colourful pixel p. As chapter 10 has it.
    """
    hue, saturation, value = np.moveaxis(rgb_to_hsv(frames), -1, 0)
    chroma = saturation * value
    weight = np.where(chroma > COLOURFUL, chroma, 0)
    total = (weight * np.exp(2j * np.pi * hue)).sum((1, 2))
    return np.degrees(np.angle(total)), weight.sum((1, 2)) > LEAST


def changes(frames: np.ndarray, keys: list[int]) -> tuple[bool, bool]:
    """Whether key frames differ, and whether a frame between two of them has a third colour."""
    hue, sure = hues(frames / 255)

    def apart(i: int, j: int) -> bool:
        return bool(sure[i] and sure[j] and abs((hue[i] - hue[j] + 180) % 360 - 180) > APART)

    between = [
        apart(i, max(k for k in keys if k < i)) and apart(i, min(k for k in keys if k > i))
        for i in range(keys[-1])
        if i not in keys
    ]
    return any(apart(i, j) for i in keys for j in keys), any(between)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400, help="prompts")
    n = parser.parse_args().samples
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    scenes, typed = prompts(n)
    asked = [parse_prompt(text) for text in typed]
    ways = {"as typed": typed, "extended": [extend_prompt(text, i) for i, text in enumerate(typed)]}
    clips = {"real clips": to_uint8(render(scenes, pipe.config.num_frames, pipe.config.size, SEED))}
    with Progress() as bars:
        for way, texts in ways.items():
            parts = bars.track(range(0, n, BATCH), description=way)
            clips[way] = np.concatenate([pipe(texts[i : i + BATCH], seed=SEED + i).frames for i in parts])
    rows = {}
    print(f"{'':12} key frames differ, a third colour between, either (95%); followed")
    for way, frames in clips.items():
        key, between = np.array([changes(clip, pipe.keyframe_numbers) for clip in frames]).T
        either = int((key | between).sum())
        low, high = wilson(either, n)
        seen = judge.read_as_asked(frames, asked)
        followed = np.mean([wish.items() <= reading.items() for wish, reading in zip(asked, seen, strict=True)])
        rows[way] = {
            "key frames": float(key.mean()), "between": float(between.mean()), "either": either / n,
            "low": low, "high": high, "followed": float(followed),
        }  # fmt: skip
        print(
            f"{way:12} {key.mean():.3f}, {between.mean():.3f}, {either / n:.3f} ({low:.3f} to {high:.3f}); {followed:.3f}"
        )
    RESULT.write_text(json.dumps({"weights": digest_of(BUNDLED), "samples": n, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
