"""Fail unless every page that _toc.yml lists was written: a builder that cannot read the book may make nothing and exit 0."""

import sys
from pathlib import Path

from sphinx_external_toc.parsing import parse_toc_yaml

root = Path(__file__).resolve().parents[2]
html = root / "_build" / "html"
pages = [html / f"{name.removesuffix('.ipynb').removesuffix('.md')}.html" for name in parse_toc_yaml(root / "_toc.yml")]
missing = [str(page.relative_to(root)) for page in pages if not page.is_file()]
if missing:
    sys.exit(f"The book was not built: no {', '.join(missing)}")
print(f"{len(pages)} pages, from {html.relative_to(root)}/index.html")
