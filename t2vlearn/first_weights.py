"""What a training run starts from: random weights, or given ones, with the words that its captions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from t2vlearn.errors import UserError
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline

FREE = ("tau_mean", "shift", "guidance_scale")  # what the recipe says of given weights, too
CLIP = ("size", "num_frames", "num_keyframes")  # what weights have to share with it


def first_pipeline(
    config: PipelineConfig, weights: str | Path | None = None, new: Sequence[str] = ()
) -> TextToVideoPipeline:
    """A pipeline with random weights, or with given ones, of whose codec the encoder then stays as it is.

    Args:
        config: the networks' sizes. Given weights bring their own, and take `FREE` from here; `CLIP` has to be the same.
        weights: a folder or a Hub id.
        new: words to be learnt. Without weights they are the vocabulary; to that of weights, those are added that it lacks.

    Raises:
        UserError: for weights that cannot be loaded, or that make other clips or know other words than the recipe.
    """
    if not weights:
        return TextToVideoPipeline(**asdict(config) | ({"words": list(new)} if new else {}))
    source = TextToVideoPipeline.from_pretrained(weights)
    own, old = source.config, source.config.words
    words = list(dict.fromkeys([*old, *new])) if new else config.words
    sizes = replace(own, words=words, **{key: getattr(config, key) for key in FREE})
    pipe = TextToVideoPipeline(**asdict(sizes), info=source.info)
    differ = [key for key in CLIP if getattr(own, key) != getattr(config, key)]
    if differ := differ + ["words"] * (not new and old != pipe.config.words):
        raise UserError(
            f"{weights} are weights of another model ({', '.join(differ)}): choose the preset that made them"
        )
    state = source.state_dict()
    rows = "text_encoder.embedding.weight"  # old words keep theirs, behind which the new ones have their first ones
    state[rows] = torch.cat([state[rows], pipe.state_dict()[rows][len(state[rows]) :]])
    pipe.load_state_dict(state)
    pipe.visual_encoder.codec.encoder.requires_grad_(False)
    return pipe


def lineage(info: dict) -> str:
    """Where weights came from, in a line: "minutes 58, seed 0"."""
    return ", ".join(f"{key} {info[key]}" for key in ("minutes", "steps", "seed", "after") if key in info)
