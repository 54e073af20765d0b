"""The check of the built pages finds what it is there to find."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("sphinx_external_toc", reason="the check of the pages comes with the book's tools")
ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("check_pages", ROOT / "book" / "_ext" / "check_pages.py")
check_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_pages)

WHOLE = """<html><head><link rel="stylesheet" href="book.css?v=1"><link rel="canonical" href="https://example.org/a.html">
<script src="book.js"></script></head><body><a href="https://example.org">elsewhere</a>
<img src="data:image/webp;base64,AA" alt="a puppy"></body></html>"""


@pytest.fixture
def html(tmp_path):
    for name, text in {"a.html": WHOLE, "book.css": "", "book.js": ""}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_whole_book_has_no_problems(html):
    assert check_pages.problems(html, ["a.md"]) == []


def test_a_page_that_was_not_built(html):
    assert check_pages.problems(html, ["a", "b.ipynb"]) == ["b.html: was not built"]


@pytest.mark.parametrize(
    "element, problem",
    [
        ('<script src="https://cdn.example.org/x.js">', "<script> from another machine: https://cdn.example.org/x.js"),
        (
            '<link rel="stylesheet" href="//cdn.example.org/x.css">',
            "<link> from another machine: //cdn.example.org/x.css",
        ),
        ('<img src="gone.png" alt="a puppy">', "<img> of a missing file: gone.png"),
        ('<button onclick="print()">', "<button> calls a script itself: onclick"),
        ('<img src="data:," alt=" ">', "a picture without words (alt)"),
        ('<img src="data:,">', "a picture without words (alt)"),
        (
            '<img src="data:," alt="_images/3f2a.png">',
            "a picture with a file name for words (set mystnb.image.alt): _images/3f2a.png",
        ),
    ],
)
def test_an_element_that_should_not_be(html, element, problem):
    (html / "a.html").write_text(WHOLE.replace("</body>", element + "</body>"))
    assert check_pages.problems(html, ["a"]) == [f"a.html: {problem}"]
