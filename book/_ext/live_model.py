"""Sphinx extension: put the model, as ONNX files, and the scripts that run it beside the pages, in `_live/`.

The export takes half a minute, so it is kept beside the execution cache, under the hash of what it is made from.
"""

import shutil
from pathlib import Path

from t2vlearn import TextToVideoPipeline
from t2vlearn.export import export_onnx

from execution_cache import cache_key


def _add_model(app, error):
    if error or app.builder.format != "html":
        return
    root, pages = Path(app.srcdir), Path(app.outdir) / "_live"
    kept = Path(app.outdir).parent / ".onnx" / cache_key(root)
    if not kept.exists():
        shutil.rmtree(kept.parent, ignore_errors=True)
        export_onnx(TextToVideoPipeline.from_pretrained(), kept)
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(root / "t2vlearn" / "widgets" / "live", pages)
    shutil.copytree(kept, pages / "model")


def setup(app):
    """Register with Sphinx: once all pages are written."""
    app.connect("build-finished", _add_model)
    return {"parallel_read_safe": True}
