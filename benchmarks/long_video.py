"""How long can a video get? `python benchmarks/long_video.py [--stories 24] [--segments 17] [--only NAME ...]`

Stories about one actor each, its combination held out: an action, then the one that leads back (left after right, smaller
after bigger; the others go on), and so on. The judge reads every segment of 16 frames against its own prompt, and among them
those that were given, four or one, which show the action before. Three ways to go on: from four given frames, as
`continue_from` does; from the last frame, given (start level 0); and from the last frame, which may be repaired (start
levels above 0). Beside the judge's words stand how far the still background has drifted from the first segment's, the
actor's colour and size against the first segment's, and flicker: what remains of a frame when its neighbours' mean is taken
away, over that of real clips. Prints a table and writes benchmarks/results/long-video.json.
"""

import argparse
import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress as Bars

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import SEED, Accuracy
from t2vlearn.long import generate_long
from t2vlearn.pipeline import BUNDLED, to_uint8
from t2vlearn.storage import digest_of
from t2vlearn.world import Caption, Scene, render, sample_scenes

RESULT = Path(__file__).parent / "results" / "long-video.json"
BACK = {"moves left": "moves right", "moves up": "moves down", "grows": "shrinks"}
BACK |= {there: back for back, there in BACK.items()}
WAYS: dict[str, float | None] = {
    "four given frames": None,
    "last frame, given": 0.0,
    "last frame, level 0.3": 0.3,
}
STEPS = 10


def back(scene: Scene) -> Scene:
    """The same actor on its way back."""
    actor = scene.actors[0]
    return Scene((replace(actor, action=BACK.get(actor.action, actor.action)),), scene.place)


def full_caption(scene: Scene, seed: int) -> Caption:
    """The scene's first English caption from `seed` on that names everything."""
    return next(c for c in (scene.caption("en", seed + i) for i in range(1000)) if c.named == scene.attributes.keys())


def windows(
    pipe: TextToVideoPipeline, stories: list[list[str]], segments: int, level: float | None
) -> Iterator[np.ndarray]:
    """Every segment as whole clips of 16 frames (n, 16, h, w, 3)."""
    if level is None:
        clips = None
        for k in range(segments):
            prompts, seed = [story[k % len(story)] for story in stories], SEED + 1000 * k
            if clips is None:
                clips = pipe(prompts, STEPS, seed=seed).frames
            else:  # a pipeline continues one clip at a time
                made = [pipe(p, STEPS, seed=seed + i, continue_from=c) for i, (p, c) in enumerate(zip(prompts, clips))]
                clips = np.concatenate([out.frames for out in made])
            yield clips
        return
    # In parts of ten, whose activations stay in the cache.
    parts = [
        generate_long(pipe, stories[i : i + 10], segments, level, STEPS, seed=SEED + i)
        for i in range(0, len(stories), 10)
    ]
    last = None
    for pieces in zip(*parts):
        piece = np.concatenate(pieces)
        clips = piece if last is None else np.concatenate([last, piece], axis=1)
        last = clips[:, -1:]
        yield clips


def look(clips: np.ndarray) -> dict[str, np.ndarray]:
    """What needs no words: background (n, h, w, 3), the actor's mean colour (n, 3) and area (n,), flicker (n,)."""
    x = clips.astype(np.float32)
    background = np.median(x, axis=1)
    actor = np.abs(x - background[:, None]).max(-1) > 40  # (n, f, h, w)
    area = actor.sum((1, 2, 3)) / clips.shape[1]
    colour = (x * actor[..., None]).sum((1, 2, 3)) / np.maximum(actor.sum((1, 2, 3)), 1)[:, None]
    flicker = np.abs(x[:, 1:-1] - (x[:, :-2] + x[:, 2:]) / 2).mean((1, 2, 3, 4))
    return {"background": background, "colour": colour, "area": area, "flicker": flicker}


def memory(pipe: TextToVideoPipeline) -> dict[str, float]:
    """The most memory that this process has held, in GB, once a video of so many segments was made."""
    peaks = {}
    for segments in (4, 64):
        for _ in generate_long(pipe, [["a red star jumps at night"]], segments, num_inference_steps=2):
            pass
        peaks[str(segments)] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return peaks


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=24, help="videos of each way")
    parser.add_argument(
        "--segments", type=int, default=17, help="clips in each; an odd number, so that the last is like the first"
    )
    parser.add_argument("--only", nargs="+", choices=WAYS, help="these ways")
    parser.add_argument("--memory", action="store_true", help="only how memory grows with the number of segments")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    if options.memory:
        result = json.loads(RESULT.read_text()) | {"peak_gb": memory(pipe)}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print("peak memory in GB after so many segments:", result["peak_gb"])
        return
    scenes = sample_scenes(options.stories, "heldout", SEED + 1)
    chapters = [scenes, [back(scene) for scene in scenes]]
    captions = [[full_caption(scene, SEED + i) for i, scene in enumerate(part)] for part in chapters]
    stories = [[str(there), str(again)] for there, again in zip(*captions)]
    real = look(to_uint8(render(scenes, 16, pipe.config.size, SEED)))["flicker"].mean()
    weights, setting = digest_of(BUNDLED), {"stories": options.stories, "segments": options.segments, "steps": STEPS}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    ways = result["ways"] if (result.get("setting"), result.get("weights")) == (setting, weights) else {}
    with Bars() as bars:
        for name in options.only or WAYS:
            bar, rows, first = bars.add_task(name, total=options.segments), [], None
            for k, clips in enumerate(windows(pipe, stories, options.segments, WAYS[name])):
                seen = look(clips)
                first = seen if first is None else first
                hits = Accuracy.of(judge.read(clips), chapters[k % 2], captions[k % 2]).rows()
                rows.append({part: row["accuracy"] for part, row in hits.items()} | {
                    "background": float(np.abs(seen["background"] - first["background"]).mean()),
                    "colour drift": float(np.linalg.norm(seen["colour"] - first["colour"], axis=1).mean()),
                    "size drift": float(np.abs(np.log((seen["area"] + 1) / (first["area"] + 1))).mean()),
                    "flicker": float(seen["flicker"].mean() / real),
                })  # fmt: skip
                bars.update(bar, completed=k + 1)
            ways[name] = {"segments": rows}
            RESULT.write_text(
                json.dumps(result | {"weights": weights, "setting": setting, "ways": ways}, indent=1) + "\n"
            )
    print(f"{'':24} joint of segment 1, middle, last; last / first; background, colour, size, flicker at the end")
    for name, way in ways.items():
        rows = way["segments"]
        joint = [rows[k]["joint"] for k in (0, len(rows) // 2, -1)]
        end = [rows[-1][key] for key in ("background", "colour drift", "size drift", "flicker")]
        print(f"{name:24}", *(f"{j:.2f}" for j in joint), f"{joint[2] / joint[0]:.2f}", *(f"{e:.2f}" for e in end))


if __name__ == "__main__":
    main()
