"""What all widgets share: they bring their own HTML, for pages without a kernel."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from pathlib import Path

import anywidget

HERE = Path(__file__).parent
_IMPORT = re.compile(r"^import .*\n", re.MULTILINE)


def script(*names: str) -> str:
    """The script of a widget: a notebook takes one file only, so what all share (live/elements.js) stands before the others."""
    files = [(HERE / name).read_text(encoding="utf-8") for name in ("live/elements.js", *names)]
    return "\n".join(_IMPORT.sub("", text) for text in files)


def script_json(value) -> str:
    """JSON that may stand inside a script of a page."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def name_of(content: str) -> str:
    """An id for an element: the same content, the same id, in every build."""
    return "widget-" + blake2b(content.encode(), digest_size=6).hexdigest()


class Widget(anywidget.AnyWidget):
    """A widget that also brings itself as HTML: state as JSON, and its script, in the page itself."""

    def _static(self) -> str:
        state = {name: getattr(self, name) for name in self.trait_names(static=True)}
        content = script_json(state)
        name = name_of(content)
        code = self._esm.split("export default")[0]
        return (
            f'<div id="{name}" class="t2v-widget"><noscript><p>What stands here needs JavaScript.</p></noscript></div>'
            f'<script type="module">{code}\n'
            f"const state = {content};\n"
            "const set = (key, value) => { state[key] = value; };\n"
            "const model = { get: (key) => state[key], set, on() {}, save_changes() {} };\n"
            f'render({{ model, el: document.getElementById("{name}") }});</script>'
        )

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/html": self._static()}, metadata
