"""How far is the same clip from itself when it is made in other ways? `python benchmarks/determinism.py`

A clip of one prompt and one seed is made alone on one thread, and again as one of eight, on two threads, after saving and
loading, and as the first segment of a story: without guidance, with it, and around given key frames. Prints how far the
pictures (uint8 levels) and the latents before decoding are from each other, and writes benchmarks/results/determinism.json.
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch

from t2vlearn import TextToVideoPipeline
from t2vlearn.long import generate_long
from t2vlearn.pipeline import BUNDLED
from t2vlearn.storage import digest_of
from t2vlearn.world import sample_scenes

RESULT = Path(__file__).parent / "results" / "determinism.json"
PROMPTS = [scene.caption("en", i) for i, scene in enumerate(sample_scenes(8, "heldout", seed=0))]
SEED, STEPS, ALONE = 7, 10, 2  # clips of the batch that are also made alone


def make(pipe: TextToVideoPipeline, prompts: list[str], seeds: list[int], **options) -> tuple[np.ndarray, torch.Tensor]:
    """(frames, latents of the last step) of clips."""
    last = []
    out = pipe(prompts, STEPS, seed=seeds, callback=lambda *now: last.append(now[-1]), **options)
    return out.frames, last[-1]


def compare(one: tuple, other: tuple) -> dict:
    """Largest difference of pictures and of latents (None: not kept), and the share of the pictures' values that differ."""
    levels = np.abs(one[0].astype(int) - other[0].astype(int))
    apart = None if other[1] is None else float((one[1] - other[1]).abs().max())
    return {"levels": int(levels.max()), "share": float((levels > 0).mean()), "latents": apart}


def main() -> None:
    """Compare, print, write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    pipe = TextToVideoPipeline.from_pretrained()
    with tempfile.TemporaryDirectory() as folder:
        again = TextToVideoPipeline.from_pretrained(pipe.save_pretrained(folder))
    given = pipe(PROMPTS[0], STEPS, seed=1).keyframes[0]
    cases = {
        "guidance 3": {"guidance_scale": 3.0},
        "no guidance": {"guidance_scale": 1.0},
        "a negative prompt": {"negative_prompt": "a red star"},
        "given key frames": {"keyframes": given},
        "one given key frame": {"image": given[0]},
        "continued": {"continue_from": given},
    }
    rows = {}
    for case, options in cases.items():
        worst: dict[str, list] = {}
        batch = make(pipe, PROMPTS, [SEED + i for i in range(len(PROMPTS))], **options)
        for i, prompt in enumerate(PROMPTS[:ALONE]):
            alone = make(pipe, [prompt], [SEED + i], **options)
            worst.setdefault("again", []).append(compare(alone, make(pipe, [prompt], [SEED + i], **options)))
            worst.setdefault("one of eight", []).append(compare(alone, tuple(part[i : i + 1] for part in batch)))
            worst.setdefault("saved and loaded", []).append(
                compare(alone, make(again, [prompt], [SEED + i], **options))
            )
            torch.set_num_threads(2)
            worst.setdefault("two threads", []).append(compare(alone, make(pipe, [prompt], [SEED + i], **options)))
            torch.set_num_threads(1)
            if case == "guidance 3":
                begun = generate_long(pipe, [[prompt]], 1, seed=SEED + i, num_inference_steps=STEPS, **options)
                story = next(begun)
                worst.setdefault("a story's first segment", []).append(compare(alone, (story, None)))
        rows[case] = {
            way: {key: None if found[0][key] is None else max(row[key] for row in found) for key in found[0]}
            for way, found in worst.items()
        }
        for way, row in rows[case].items():
            latents = "not kept" if row["latents"] is None else f"{row['latents']:.1e}"
            print(f"{case:20} {way:24} {row['levels']:3} levels, {row['share']:7.2%} of values, latents {latents}")
    machine = {
        "processor": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    result = {"weights": digest_of(BUNDLED), "prompts": PROMPTS[:ALONE], "machine": machine, "apart": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
