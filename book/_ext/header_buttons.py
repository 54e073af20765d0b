"""Sphinx extension: no header buttons that call a script from the element itself, so that a page may forbid such calls.

They print the page and fill the screen with it, which every browser does by keys of its own.
"""


def _without_inline_handlers(app, pagename, templatename, context, doctree):
    kept = [button for button in context.get("header_buttons", []) if button["type"] != "javascript"]
    for group in (button for button in kept if button["type"] == "group"):
        group["buttons"] = [button for button in group["buttons"] if button["type"] != "javascript"]
    context["header_buttons"] = [button for button in kept if button["type"] != "group" or button["buttons"]]


def setup(app):
    """Register with Sphinx: after the theme has added its buttons."""
    app.connect("html-page-context", _without_inline_handlers, priority=900)
    return {"parallel_read_safe": True}
