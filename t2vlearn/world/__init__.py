"""The captioned toy world: scenes, captions in two languages, and a renderer. It knows no model."""

from t2vlearn.world.captions import Caption, parse_prompt
from t2vlearn.world.extension import extend_prompt
from t2vlearn.world.pasting import caption_with, cut_out, paste
from t2vlearn.world.paths import find_paths
from t2vlearn.world.render import draw_places, render
from t2vlearn.world.scenes import (
    ACTIONS,
    ATTRIBUTES,
    COLOURS,
    PLACES,
    SIZES,
    SPLITS,
    SUBJECTS,
    Actor,
    Scene,
    sample_scene,
    sample_scenes,
)

__all__ = [
    "ACTIONS",
    "ATTRIBUTES",
    "COLOURS",
    "PLACES",
    "SIZES",
    "SPLITS",
    "SUBJECTS",
    "Actor",
    "Caption",
    "Scene",
    "caption_with",
    "cut_out",
    "draw_places",
    "extend_prompt",
    "find_paths",
    "parse_prompt",
    "paste",
    "render",
    "sample_scene",
    "sample_scenes",
]
