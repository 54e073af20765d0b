"""Sphinx extension: leave the state of notebook widgets out of the pages.

Our widgets bring their own HTML (`t2vlearn.widgets`), so the state would only hold every clip a second time.
"""

STATE = "application/vnd.jupyter.widget-state+json"


def _drop_state(app, page, template, context, doctree):
    files = context.get("script_files", [])
    files[:] = [file for file in files if getattr(file, "attributes", {}).get("type") != STATE]


def setup(app):
    """Register with Sphinx: after myst-nb has added the state to the page's scripts."""
    app.connect("html-page-context", _drop_state, priority=900)
    return {"parallel_read_safe": True}
