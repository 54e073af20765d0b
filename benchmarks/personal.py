"""Can it learn a new character from a drawing? `python benchmarks/personal.py [--only learn|judge]`

learn: two drawings (a robot and a ghost, made below of a few rectangles) become captioned clips and an adapter each, in
benchmarks/results/robot.safetensors (committed: the book reads it) and ghost.safetensors. judge: what the adapters do to new
prompts and to old ones.

The bundled judge knows nine subjects. So a linear probe on its features tells the character from the nine and from scribbles
(random drawings, so that not everything strange is taken for the character), and another tells actions; both are fitted to real
clips alone, and their accuracy on real clips that they have not seen is reported.
Prints a table and writes benchmarks/results/personal.json.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.adapters import characters, load_character, remove_character, save_character
from t2vlearn.evaluation import Accuracy, prompts_of, wilson
from t2vlearn.judge import worsen
from t2vlearn.personal import learn_character
from t2vlearn.pipeline import BUNDLED, to_tensor
from t2vlearn.storage import digest_of
from t2vlearn.world import ACTIONS, SUBJECTS, caption_with, paste, render, sample_scenes

RESULTS = Path(__file__).parent / "results"
SEED = 30_000_000
LIKE = ("puppy", "kitten", "car", "square")
INK, WHITE, COAT = (33, 28, 36, 255), (255, 255, 255, 255), (30, 90, 235, 255)


def robot() -> np.ndarray:
    """A drawing of 32 x 32 pixels: uint8 RGBA."""
    image = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(image)
    for box in ((13, 0, 18, 4), (5, 5, 26, 16), (9, 17, 22, 26), (2, 18, 29, 21), (9, 27, 13, 31), (18, 27, 22, 31)):
        draw.rectangle(box, fill=COAT)
    for x in (8, 18):
        draw.rectangle((x, 7, x + 5, 13), fill=WHITE)
        draw.rectangle((x + 2, 9, x + 4, 12), fill=INK)
    return np.array(image)


def ghost() -> np.ndarray:
    """A second drawing."""
    image = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(image)
    draw.pieslice((3, 0, 28, 26), 180, 360, fill=COAT)
    draw.rectangle((3, 12, 28, 26), fill=COAT)
    for x in (3, 13, 23):
        draw.polygon([(x, 26), (x + 5, 26), (x + 2, 31)], fill=COAT)
    for x in (9, 19):
        draw.ellipse((x - 1, 8, x + 5, 16), fill=WHITE)
        draw.ellipse((x + 1, 11, x + 4, 15), fill=INK)
    return np.array(image)


DRAWINGS = {"robot": robot, "ghost": ghost}


def scribble(rng: np.random.Generator) -> np.ndarray:
    """A drawing of nothing: some boxes and discs, and now and then something like an eye."""
    image = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(image)
    for fill in [COAT] * int(rng.integers(2, 7)) + [WHITE, INK] * int(rng.integers(3)):
        x, y = rng.integers(0, 24, 2)
        w, h = rng.integers(4, 20 if fill == COAT else 9, 2)
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape((int(x), int(y), int(min(x + w, 31)), int(min(y + h, 31))), fill=fill)
    return np.array(image)


def learn(words: list[str], clips: int, steps: tuple[int, int, int], before: dict) -> dict:
    """One adapter a word, or more steps for the one that is there; how long it took and where the losses went."""
    rows = {}
    for word in words:
        pipe, rounds = TextToVideoPipeline.from_pretrained(), before.get(word, [])
        if rounds:
            load_character(pipe, RESULTS / f"{word}.safetensors")
        seed = SEED + len(rounds)
        scenes = sample_scenes(clips, "train", seed)
        captions = [caption_with(word, scene, seed + i) for i, scene in enumerate(scenes)]
        start, wall = time.process_time(), time.perf_counter()
        clips_of_it = paste([DRAWINGS[word]()], scenes, 16, 32, seed)
        with Progress() as progress:
            task = progress.add_task(word, total=sum(steps))

            def advance(*_, bar=progress, task=task):
                bar.advance(task)

            losses = learn_character(
                pipe, word, clips_of_it, captions, steps, seed=seed - SEED, like=LIKE, on_step=advance
            )
        Image.fromarray(DRAWINGS[word]()).save(RESULTS / f"{word}.png")
        path = save_character(pipe, word, RESULTS / f"{word}.safetensors")
        fifth = {name: max(len(values) // 5, 1) for name, values in losses.items()}
        rows[word] = [*rounds, {
            "clips": clips, "steps": steps, "bytes": path.stat().st_size,
            "cpu minutes": (time.process_time() - start) / 60, "minutes": (time.perf_counter() - wall) / 60,
            "threads": torch.get_num_threads(),
            "first fifth": {name: float(np.mean(values[: fifth[name]])) for name, values in losses.items() if values},
            "last fifth": {name: float(np.mean(values[-fifth[name] :])) for name, values in losses.items() if values},
        }]  # fmt: skip
    return rows


class Probe:
    """Softmax regression on the judge's features: argmax_k (W f + b)_k."""

    def __init__(self, features: Tensor, labels: Tensor):
        self.mean, self.std = features.mean(0), features.std(0) + 1e-6
        self.linear = torch.nn.Linear(features.shape[1], int(labels.max()) + 1)
        x = (features - self.mean) / self.std
        optimiser = torch.optim.LBFGS(self.linear.parameters(), max_iter=60)

        def closure():
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.linear(x), labels) + 1e-3 * self.linear.weight.square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Features (n, d) -> classes (n,)."""
        return self.linear((features - self.mean) / self.std).argmax(1)


def share(hits) -> dict:
    """Accuracy with its 95% interval."""
    hits = [bool(hit) for hit in hits]
    return {"accuracy": float(np.mean(hits)), "interval": wilson(sum(hits), len(hits)), "n": len(hits)}


@torch.no_grad()
def real(judge: Judge, codec, word: str, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, list]:
    """Features, subject and action labels of n real clips of the character, n of the nine, n of scribbles; the first n read."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scenes(n, "train", seed + i) for i in range(3)]
    clips = torch.cat([
        paste([DRAWINGS[word]()], scenes[0], 16, 32, seed),
        render(scenes[1], 16, 32, seed),
        paste([scribble(rng) for _ in range(n)], scenes[2], 16, 32, seed),
    ])  # fmt: skip
    clips = worsen(clips, codec, rng)
    features = torch.cat([judge.features(part) for part in clips.split(64)])
    nine = [SUBJECTS.index(scene.actors[0].subject) for scene in scenes[1]]
    subjects = [len(SUBJECTS)] * n + nine + [len(SUBJECTS) + 1] * n
    actions = [ACTIONS.index(scene.actors[0].action) for part in scenes for scene in part]
    return features, torch.tensor(subjects), torch.tensor(actions), judge.read(clips[:n])


def judged(word: str, new: int, old: int, fit: int, steps: int) -> dict:
    """The probes on real clips, then the model on new prompts and old ones."""
    pipe, judge = TextToVideoPipeline.from_pretrained(), Judge.from_pretrained()
    codec = pipe.visual_encoder.codec
    features, subjects, actions, _ = real(judge, codec, word, fit, SEED + 100)
    subject_of, action_of = Probe(features, subjects), Probe(features, actions)
    features, subjects, actions, read = real(judge, codec, word, fit // 3, SEED + 200)
    n = len(read)
    row: dict = {
        "real clips": {
            "probe, subject": share(subject_of(features) == subjects),
            "probe, character present": share(subject_of(features)[:n] == subjects[:n]),
            "probe, character where it is not": share(subject_of(features)[n:] == len(SUBJECTS)),
            "probe, action": share(action_of(features)[:n] == actions[:n]),
            "bundled judge, action": share(r["action"] == ACTIONS[a] for r, a in zip(read, actions[:n].tolist())),
        }
    }
    asked = [s for s in sample_scenes(20 * new, "train", SEED + 300)]
    pairs = [(s, caption_with(word, s, i)) for i, s in enumerate(asked)]
    pairs = [(s, c) for s, c in pairs if {"action", "colour", "place"} <= c.named][:new]
    old_scenes, old_captions = prompts_of("heldout", old, SEED)

    def make(prompts: list) -> np.ndarray:
        return np.concatenate([
            pipe([str(p) for p in prompts[i : i + 10]], steps, seed=SEED + i).frames for i in range(0, len(prompts), 10)
        ])  # fmt: skip

    before = make(old_captions)
    row["old prompts, before"] = share(joint(judge, before, old_scenes, old_captions))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the word is unknown yet
        unknown = judge.features(to_tensor(make([caption for _, caption in pairs])))
    row["new prompts, before"] = share(subject_of(unknown) == len(SUBJECTS))
    load_character(pipe, RESULTS / f"{word}.safetensors")
    frames = make([caption for _, caption in pairs])
    with torch.no_grad():
        features = judge.features(to_tensor(frames))
    truth = torch.tensor([ACTIONS.index(s.actors[0].action) for s, _ in pairs])
    read = judge.read(frames)
    row["new prompts"] = {
        "character present": share(subject_of(features) == len(SUBJECTS)),
        "taken for": dict(
            zip(*np.unique([(*SUBJECTS, word, "something else")[k] for k in subject_of(features)], return_counts=True))
        ),
        "action, probe": share(action_of(features) == truth),
        "action, bundled judge": share(r["action"] == s.actors[0].action for r, (s, _) in zip(read, pairs)),
        "colour": share(r["colour"] == s.actors[0].colour for r, (s, _) in zip(read, pairs)),
        "place": share(r["place"] == s.place for r, (s, _) in zip(read, pairs)),
    }
    row["new prompts"]["taken for"] = {str(k): int(v) for k, v in row["new prompts"]["taken for"].items()}
    after = make(old_captions)
    row["old prompts, adapter on"] = share(joint(judge, after, old_scenes, old_captions))
    with torch.no_grad():  # the bundled judge must choose among the nine: a puppy that is half a robot is a puppy to it
        for name, clips in (("before", before), ("adapter on", after)):
            taken = subject_of(judge.features(to_tensor(clips))) == len(SUBJECTS)
            row[f"old prompts, {name}: taken for the character"] = share(taken)
    for other in others_than(word):
        load_character(pipe, RESULTS / f"{other}.safetensors")
        with torch.no_grad():
            features = judge.features(to_tensor(make([caption for _, caption in pairs])))
        row[f"new prompts, the {other} on as well"] = share(subject_of(features) == len(SUBJECTS))
        remove_character(pipe, other)
    remove_character(pipe, word)
    assert not characters(pipe) and np.array_equal(make(old_captions[:10]), before[:10])
    row["old prompts, adapter off: the same bits"] = True
    return row


def others_than(word: str) -> list[str]:
    """The other characters that have been learnt."""
    return [other for other in DRAWINGS if other != word and (RESULTS / f"{other}.safetensors").exists()]


def joint(judge: Judge, frames: np.ndarray, scenes: list, captions: list) -> list[bool]:
    """Is all right that a caption names?"""
    return [bool(Accuracy.of([r], [s], [c]).hits["joint"]) for r, s, c in zip(judge.read(frames), scenes, captions)]


def main() -> None:
    """Learn, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("learn", "judge"), help="one half")
    parser.add_argument("--on", action="store_true", help="go on with the adapters that are there")
    parser.add_argument(
        "--words", nargs="+", choices=list(DRAWINGS), help="default: all; to judge, those that are learnt"
    )
    parser.add_argument("--clips", type=int, default=300, help="clips that a drawing becomes")
    parser.add_argument("--steps", type=int, nargs=3, default=(150, 350, 100), help="of decoder, key frames, video")
    parser.add_argument("--new", type=int, default=100, help="prompts with the new word")
    parser.add_argument("--old", type=int, default=200, help="held-out prompts without it")
    parser.add_argument("--fit", type=int, default=600, help="real clips that the probes are fitted to, of each kind")
    parser.add_argument("--sampling-steps", type=int, default=20)
    options = parser.parse_args()
    learnt = [word for word in DRAWINGS if (RESULTS / f"{word}.safetensors").exists()]
    options.words = options.words or (learnt if options.only == "judge" else list(DRAWINGS))
    path = RESULTS / "personal.json"
    result = json.loads(path.read_text()) if path.exists() else {"learning": {}, "judged": {}}
    if options.only != "judge":
        result["learning"] |= learn(
            options.words, options.clips, tuple(options.steps), result["learning"] if options.on else {}
        )
        path.write_text(json.dumps(result, indent=1) + "\n")
    if options.only != "learn":
        for word in options.words:
            result["weights"] = digest_of(BUNDLED)  # of the judged clips; an adapter may have been learnt with others
            result["judged"][word] = judged(word, options.new, options.old, options.fit, options.sampling_steps)
            path.write_text(json.dumps(result, indent=1) + "\n")
    table = Table("", "", "accuracy", "95%", "n")
    for word, row in result["judged"].items():
        flat = {f"{part}: {name}": v for part, values in row.items() if isinstance(values, dict) and "n" not in values
                for name, v in values.items() if "accuracy" in v}  # fmt: skip
        flat |= {part: values for part, values in row.items() if isinstance(values, dict) and "n" in values}
        for name, v in flat.items():
            low, high = v["interval"]
            table.add_row(word, name, f"{v['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", str(v["n"]))
    Console().print(table)


if __name__ == "__main__":
    main()
