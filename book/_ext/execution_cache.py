"""Sphinx extension: keep executed notebooks in a cache folder that is named after what they import and read.

The execution cache compares a notebook's cells only. Named after a hash of the package, its weights, the measurements that
the book quotes and the versions it runs with, an old result is never shown for new code.
"""

import hashlib
from pathlib import Path


def cache_key(root):
    """First 16 hex digits of the SHA-256 over path and content of every file that an executed cell may depend on."""
    package = [path for path in (root / "t2vlearn").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256()
    for path in sorted([*package, *root.glob("benchmarks/results/*"), root / "constraints.txt"]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _name_cache(app, config):
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / cache_key(Path(app.srcdir)))


def setup(app):
    """Register with Sphinx: before anything reads the notebooks."""
    app.connect("config-inited", _name_cache)
    return {"parallel_read_safe": True}
