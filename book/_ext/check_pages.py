"""Fail unless the book was built whole, and needs nothing and nobody outside it.

A builder that cannot read the book may make nothing and exit 0; a page may ask another machine for a script, show a picture
without words, or call a script from an element (onclick), which a strict content-security policy forbids.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
#: Elements that make a browser fetch something by itself, and the attribute that says what.
FETCHES = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "video": "src", "link": "href"}
#: Links that are not fetched.
PASSIVE = {"canonical", "index", "search", "prev", "next", "author", "license"}


class Page(HTMLParser):
    """What is wrong with one page: `problems`."""

    def __init__(self, path):
        super().__init__()
        self.path, self.problems = path, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Look at one element."""
        values = dict(attributes)
        if handlers := ", ".join(name for name in values if name.startswith("on")):
            self.problems.append(f"<{tag}> calls a script itself: {handlers}")
        target = values.get(FETCHES.get(tag, ""), "") or ""
        if tag == "link" and values.get("rel") in PASSIVE:
            return
        if re.match(r"(?:[a-z]+:)?//", target):
            self.problems.append(f"<{tag}> from another machine: {target}")
        elif target and not target.startswith(("data:", "#")):
            if not (self.path.parent / target.split("?")[0].split("#")[0]).is_file():
                self.problems.append(f"<{tag}> of a missing file: {target}")
        if tag == "img" and not (values.get("alt") or "").strip():
            self.problems.append("a picture without words (alt)")
        elif tag == "img" and re.search(r"\.(png|svg|jpe?g|webp|gif)$", values["alt"]):
            self.problems.append(f"a picture with a file name for words (set mystnb.image.alt): {values['alt']}")


def problems(html, names):
    """What is wrong with the built book in the folder `html`, one line each."""
    pages = [html / f"{name.removesuffix('.ipynb').removesuffix('.md')}.html" for name in names]
    found = [f"{page.relative_to(html)}: was not built" for page in pages if not page.is_file()]
    for page in pages:
        if page.is_file():
            found += [f"{page.relative_to(html)}: {problem}" for problem in Page(page).problems]
    return found


if __name__ == "__main__":
    html = ROOT / "_build" / "html"
    names = list(parse_toc_yaml(ROOT / "_toc.yml"))
    if found := problems(html, names):
        sys.exit("\n".join(["The book is not whole:", *found]))
    print(f"{len(names)} pages, from {html.relative_to(ROOT)}/index.html")
