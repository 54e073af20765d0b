"""Sphinx extension: a figure that a cell drew links to itself, so that a reader with a small screen can enlarge it."""

import re

FIGURE = re.compile(r'<img [^>]*src="([^"]*_images/[0-9a-f]{20,}[.]png)"[^>]*/?>')


def _link(app, page, template, context, doctree):
    if "body" in context:
        context["body"] = FIGURE.sub(r'<a class="t2v-figure" href="\1">\g<0></a>', context["body"])


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", _link)
    return {"parallel_read_safe": True}
