"""t2vlearn: a small, complete text-to-video model, and the book that builds it.

Names are imported when they are first used, so that `import t2vlearn` and the command line's help stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from t2vlearn.diffusion import DDPM, DiffusionModel, RectifiedFlow
    from t2vlearn.errors import UserError
    from t2vlearn.judge import Judge
    from t2vlearn.pipeline import TextToVideoPipeline
    from t2vlearn.text import TextEncoder
    from t2vlearn.video import VideoGenerator
    from t2vlearn.visual import VisualEncoder

_HOME = {
    "TextToVideoPipeline": "pipeline",
    "TextEncoder": "text",
    "VisualEncoder": "visual",
    "VideoGenerator": "video",
    "DiffusionModel": "diffusion",
    "DDPM": "diffusion",
    "RectifiedFlow": "diffusion",
    "Judge": "judge",
    "UserError": "errors",
}
__all__ = [
    "DDPM",
    "DiffusionModel",
    "Judge",
    "RectifiedFlow",
    "TextEncoder",
    "TextToVideoPipeline",
    "UserError",
    "VideoGenerator",
    "VisualEncoder",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 't2vlearn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"t2vlearn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
