"""Does the model follow the prompt? Generate for many captions, let the judge read the clips, compare.

Beside the model's accuracy stand what bounds it: the judge on real clips and on codec reconstructions (above), shuffled
captions and chance (below). Only what a caption names is judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from t2vlearn.errors import UserError
from t2vlearn.judge import Judge, check_length, match
from t2vlearn.pipeline import BUNDLED, TextToVideoPipeline, to_tensor
from t2vlearn.storage import digest_of
from t2vlearn.world import ATTRIBUTES, Caption, Scene, render, sample_scenes
from t2vlearn.world.scenes import SECOND

#: name -> (split of the scenes, languages, sentence patterns)
EVAL_SPLITS = {
    "train": ("train", ("en",), "train"),
    "heldout": ("heldout", ("en",), "train"),
    "patterns": ("train", ("en", "zh"), "unseen"),
    "chinese": ("heldout", ("zh",), "train"),
    "two_actors": ("two_actors", ("en", "zh"), "train"),
}
#: Evaluation scenes and clips are numbered apart from every training run's, whose seeds are small.
SEED = 10_000_000
APART = 100_000  # between the noise of two evaluations
BATCH = 25


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% interval of a share, (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96 (Wilson 1927).

    `hits` from 0 to n, `n` at least 1.
    """
    z = 1.96
    p, q = hits / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + q / (4 * n))
    # The ends of 0 and n lie on 0 and 1, but for rounding.
    return max((p + q / 2 - half) / (1 + q), 0.0), min((p + q / 2 + half) / (1 + q), 1.0)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|m_x - m_y|^2 + Tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of features (n, d) (Heusel et al. 2017, equation 6).

    Means and covariances are over n - 1.

    Raises:
        ValueError: for fewer than two samples of either.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("a covariance needs at least two samples")
    x, y = x.double(), y.double()
    values, vectors = torch.linalg.eigh(x.T.cov())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T  # C_x^(1/2)
    # the eigenvalues of C_x C_y are those of the symmetric C_x^(1/2) C_y C_x^(1/2)
    cross = torch.linalg.eigvalsh(root @ y.T.cov() @ root).clamp(min=0).sqrt().sum()
    means = (x.mean(0) - y.mean(0)).square().sum()
    return float(means + x.T.cov().trace() + y.T.cov().trace() - 2 * cross)


@dataclass
class Accuracy:
    """Hits among trials of each attribute, and "joint": everything that the caption names is right.

    Of two actors each is a trial of its own, as if neither depended on the other: so the intervals of single attributes may be
    too narrow there, up to a factor of sqrt(2). "joint" has one trial a clip.
    """

    hits: dict[str, int]
    trials: dict[str, int]

    @classmethod
    def of(cls, readings: Sequence[dict], scenes: Sequence[Scene], captions: Sequence[Caption]) -> Accuracy:
        """Count, clip by clip, over the attributes that each caption names."""
        hits: dict[str, int] = {}
        trials: dict[str, int] = {}
        for reading, scene, caption in zip(readings, scenes, captions, strict=True):
            truth = scene.attributes
            seen = match(reading, truth)
            right = {key: seen.get(key) == truth[key] for key in sorted(caption.named)}
            right["joint"] = all(right.values())
            for key, value in right.items():
                name = key.removesuffix(SECOND)
                hits[name] = hits.get(name, 0) + value
                trials[name] = trials.get(name, 0) + 1
        return cls(hits, trials)

    def rows(self) -> dict[str, dict[str, float]]:
        """name -> accuracy, 95% interval, number of trials."""
        names = [name for name in (*ATTRIBUTES, "joint") if name in self.trials]
        return {
            name: {
                "accuracy": self.hits[name] / self.trials[name],
                **dict(zip(("low", "high"), wilson(self.hits[name], self.trials[name]), strict=True)),
                "n": self.trials[name],
            }
            for name in names
        }


@dataclass
class Report:
    """What `evaluate` found.

    Attributes:
        split, samples, seed: what was asked for.
        model: hits of the generated clips.
        real, codec: hits of the judge on real clips and on those after the codec.
        shuffled: hits of the generated clips against each other's captions.
        chance: expected joint accuracy of a guess, in [0, 1]; of two actors that of one whose order counts.
        frechet, frechet_floor: squared distances of judge features, generated to real and real to real.
        diversity: 1 as varied as real clips, 0 always the same; NaN where no caption names everything.
        seconds_per_clip: of generating.
    """

    split: str
    samples: int
    seed: int
    model: Accuracy
    real: Accuracy
    codec: Accuracy
    shuffled: Accuracy
    chance: float
    frechet: float
    frechet_floor: float
    diversity: float
    seconds_per_clip: float

    def as_dict(self) -> dict:
        """For JSON, which has no NaN."""
        numbers = {
            name: None if value != value else value
            for name, value in vars(self).items()
            if not isinstance(value, Accuracy)
        }
        return numbers | {name: getattr(self, name).rows() for name in ("model", "real", "codec", "shuffled")}

    def table(self) -> list[tuple[str, str]]:
        """Rows for printing: what was measured, and its value with a 95% interval."""

        def share(row: dict[str, float]) -> str:
            return f"{row['accuracy']:.3f}  ({row['low']:.3f} to {row['high']:.3f}, n = {row['n']})"

        rows = [(name, share(row)) for name, row in self.model.rows().items()]
        bounds = {"real clips": self.real, "codec reconstructions": self.codec, "shuffled captions": self.shuffled}
        rows += [(f"joint, {name}", share(accuracy.rows()["joint"])) for name, accuracy in bounds.items()]
        rows += [
            ("joint, chance", f"{self.chance:.4f}"),
            (
                "Fréchet distance",
                f"{self.frechet:.2f}  ({self.frechet / self.frechet_floor:.1f} × its floor {self.frechet_floor:.2f})",
            ),
            ("diversity", f"{self.diversity:.2f}  (1 is as varied as real clips)"),
            ("seconds a clip", f"{self.seconds_per_clip:.2f}"),
        ]
        return rows


def prompts_of(split: str, samples: int, seed: int = 0) -> tuple[list[Scene], list[Caption]]:
    """The scenes and captions of an evaluation split; number i depends on (split, seed, i) alone.

    Raises:
        UserError: for an unknown split.
    """
    if split not in EVAL_SPLITS:
        raise UserError(f"unknown split {split!r}: choose from {', '.join(EVAL_SPLITS)}")
    scene_split, languages, patterns = EVAL_SPLITS[split]
    scenes = sample_scenes(samples, scene_split, SEED + seed)
    captions = [
        scene.caption(languages[i % len(languages)], seed=SEED + i, patterns=patterns) for i, scene in enumerate(scenes)
    ]
    return scenes, captions


def evaluate(
    pipeline: TextToVideoPipeline,
    split: str = "heldout",
    samples: int = 1000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    judge: Judge | None = None,
) -> Report:
    """Measure alignment, Fréchet distance and diversity on a split, with the pipeline's default steps and guidance.

    Args:
        pipeline: the model.
        split: a key of `EVAL_SPLITS`.
        samples: captions, one clip each (and two more for diversity, for up to 100 captions that name everything).
        seed: other seeds, other scenes and clips.
        progress: called as (stage, done, total).
        judge: default: the bundled one.

    Raises:
        UserError: for an unknown split, fewer than 2 samples, or a model whose clips have another length than the judge reads.
    """
    check_length(pipeline.config.num_frames)
    if samples < 2:
        raise UserError(f"the number of samples is {samples}: at least 2 are needed, 1000 is usual")
    scenes, captions = prompts_of(split, samples, seed)
    judge = judge or Judge.from_pretrained()
    actors = len(scenes[0].actors)
    size, frames, base = pipeline.config.size, pipeline.config.num_frames, SEED + APART * seed

    def batches(stage: str):
        for first in range(0, samples, BATCH):
            yield slice(first, first + BATCH)
            if progress is not None:
                progress(stage, min(first + BATCH, samples), samples)

    def real(part: slice, seed: int) -> Tensor:
        return render(scenes[part], frames, size, seed, start=part.start)

    read: dict[str, list[dict]] = {name: [] for name in ("model", "real", "codec")}
    features: dict[str, list[Tensor]] = {name: [] for name in ("model", "real", "other")}
    with torch.no_grad():
        for part in batches("real clips"):
            clips = real(part, base)
            coded = pipeline.visual_encoder.codec
            restored = coded.decode(coded.encode(clips.to(pipeline.device))).cpu().clamp(-1, 1)
            read["real"] += judge.read(clips, actors)
            read["codec"] += judge.read(restored, actors)
            features["real"].append(judge.features(clips))
            features["other"].append(judge.features(real(part, base + 1)))
        spent = 0.0
        for part in batches("generated clips"):
            start = time.perf_counter()
            made = pipeline(captions[part], seed=base + part.start)
            spent += time.perf_counter() - start
            clips = to_tensor(made.frames)
            read["model"] += judge.read(clips, actors)
            features["model"].append(judge.features(clips))

    accuracies = {name: Accuracy.of(readings, scenes, captions) for name, readings in read.items()}
    joined = {name: torch.cat(parts) for name, parts in features.items()}
    return Report(
        split, samples, seed, **accuracies,
        shuffled=Accuracy.of(read["model"], scenes[1:] + scenes[:1], captions[1:] + captions[:1]),
        chance=float(np.mean([math.prod(1 / len(ATTRIBUTES[k.removesuffix(SECOND)]) for k in c.named) for c in captions])),
        frechet=frechet_distance(joined["model"], joined["real"]),
        frechet_floor=frechet_distance(joined["other"], joined["real"]),
        diversity=diversity(pipeline, scenes, captions, seed),
        seconds_per_clip=spent / samples,
    )  # fmt: skip


def diversity(pipeline: TextToVideoPipeline, scenes: list[Scene], captions: list[Caption], seed: int = 0) -> float:
    """Mean pixel distance of two seeds of one prompt over that of two real clips of one caption.

    The distance is the root mean square over a clip. Only captions that name everything count: two real clips of such a
    caption are two renderings of its scene. At most 100 captions.
    """
    full = [i for i, (s, c) in enumerate(zip(scenes, captions, strict=True)) if c.named == s.attributes.keys()][:100]
    if not full:
        return math.nan
    chosen, texts = [scenes[i] for i in full], [captions[i] for i in full]
    size, frames = pipeline.config.size, pipeline.config.num_frames

    def distance(x: Tensor, y: Tensor) -> float:
        return float((x - y).square().flatten(1).mean(1).sqrt().mean())

    def generated(first: int) -> Tensor:
        parts = [pipeline(texts[i : i + BATCH], seed=first + i).frames for i in range(0, len(texts), BATCH)]
        return to_tensor(np.concatenate(parts))

    base = SEED + APART * seed
    made = distance(generated(base + 50_000), generated(base + 60_000))
    return made / distance(*(render(chosen, frames, size, base + i) for i in (2, 3)))


def measured_with(result: dict) -> str:
    """A line for a page: whether a result of `benchmarks/`, by its "weights", is about the bundled ones or those before."""
    ours = result.get("weights") == digest_of(BUNDLED)
    return "Measured with the bundled weights." if ours else "Measured with earlier weights than the bundled ones."
