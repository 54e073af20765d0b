"""What do weights of eight bits cost? `python benchmarks/eight_bits.py [--samples 1000] [--split heldout]`

The same captions and seeds as `t2vlearn evaluate`, once by torch in float32, once by the ONNX files that the book's pages run,
in onnxruntime with one thread. The judge reads both. Prints both accuracies and the paired difference with its 95%
interval, and writes benchmarks/results/eight-bits.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.progress import track
from torch import Tensor

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import SEED, Accuracy, prompts_of
from t2vlearn.export import export_onnx
from t2vlearn.pipeline import BUNDLED, to_uint8
from t2vlearn.storage import digest_of
from t2vlearn.video import steps_between
from t2vlearn.visual import first_then_rest

RESULT = Path(__file__).parent / "results" / "eight-bits.json"
BATCH = 25
STEPS = 20


class Exported:
    """The loop around the ONNX files: what live/sampler.js does in a page."""

    def __init__(self, folder: Path, pipe: TextToVideoPipeline):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.pipe = pipe
        self.sessions = {
            path.stem: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for path in folder.glob("*.onnx")
        }

    def run(self, name: str, **inputs: Tensor) -> list[Tensor]:
        """One function."""
        return [torch.from_numpy(x) for x in self.sessions[name].run(None, {k: v.numpy() for k, v in inputs.items()})]

    def __call__(self, prompt: str, seed: int) -> np.ndarray:
        """Frames (f, h, w, 3) of one clip."""
        pipe = self.pipe
        ids, mask = pipe.text_encoder.tokenize([prompt, ""])
        tokens, pooled = self.run("text", ids=ids, mask=mask)
        pair = {"tokens": tokens, "mask": mask, "pooled": pooled}
        one = {name: value[:1] for name, value in pair.items()}
        latents, noise = pipe.initial_noise([seed])
        scale = torch.tensor(pipe.config.guidance_scale)

        def walk(x: Tensor, known: Tensor, steps: int, _: int) -> Tensor:
            return pipe.diffusion.sample(
                lambda x, tau: self.run("keyframes", x=x, tau=tau, known=known, **pair, scale=scale)[0], x, steps, known
            )

        known = torch.zeros(1, latents.shape[2], dtype=torch.bool)
        known[:, pipe.keyframe_numbers] = True
        latents[:, :, pipe.keyframe_numbers] = first_then_rest(walk, noise, STEPS)
        latents = pipe.diffusion.sample(
            lambda x, tau: self.run("video", x=x, tau=tau, known=known, **one)[0], latents, steps_between(STEPS), known
        )
        return to_uint8(self.run("decoder", latents=latents)[0])[0]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="captions")
    parser.add_argument("--split", default="heldout", help="see t2vlearn evaluate --help")
    options = parser.parse_args()
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    scenes, captions = prompts_of(options.split, options.samples)
    right: dict[str, list[bool]] = {"float32": [], "eight bits": []}
    apart = []
    with tempfile.TemporaryDirectory() as folder:
        exported = Exported(export_onnx(pipe, Path(folder) / "model", "int8", judge), pipe)
        for first in track(range(0, options.samples, BATCH), description="clips", show_speed=False):
            part = slice(first, min(first + BATCH, options.samples))
            seeds = range(SEED + part.start, SEED + part.stop)
            clips = {
                "float32": pipe(captions[part], STEPS, seed=list(seeds)).frames,
                "eight bits": np.stack([exported(c, s) for c, s in zip(captions[part], seeds, strict=True)]),
            }
            apart.append(np.abs(clips["float32"].astype(float) - clips["eight bits"]).mean((1, 2, 3, 4)))
            for name, frames in clips.items():
                for one in zip(judge.read(frames), scenes[part], captions[part], strict=True):
                    right[name].append(bool(Accuracy.of(*([x] for x in one)).hits["joint"]))
    lost = np.subtract(*(np.array(right[name], float) for name in ("float32", "eight bits")))
    result = {
        "weights": digest_of(BUNDLED),
        "split": options.split,
        "samples": options.samples,
        "joint": {name: float(np.mean(hits)) for name, hits in right.items()},
        "lost": float(lost.mean()),
        "lost_interval": float(1.96 * lost.std() / len(lost) ** 0.5),
        "grey_levels_apart": float(np.median(np.concatenate(apart))),
    }
    print(json.dumps(result, indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
