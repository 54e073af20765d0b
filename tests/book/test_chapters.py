"""What every chapter owes its reader, as far as it can be seen without running it (nbval runs it, `make book` builds it)."""

import ast
import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book").glob("*.ipynb"))
CHAPTERS = [path for path in PAGES if path.name[0].isdigit()]  # the others are appendices
MINUTES = {
    15: "fifteen",
    20: "twenty",
    25: "twenty-five",
    30: "thirty",
    35: "thirty-five",
    40: "forty",
    45: "forty-five",
}
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path, kind=None):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in found if kind in (None, cell["cell_type"])]


def prose(path):
    return "\n\n".join(cell["source"] for cell in cells(path, "markdown"))


def before_the_exercises(path):
    return list(itertools.takewhile(lambda cell: not cell["source"].startswith("## Exercises"), cells(path)))


def calls(source):
    """Every call in a cell: (dotted name of what is called, names of its keyword arguments)."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func), {keyword.arg for keyword in call.keywords}) for call in found]


def names_in(source):
    """Every name that Python code defines: functions, classes, arguments, variables, attributes, and imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("name", "id", "arg", "attr", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                names |= set(value.split("."))
    return names


@pytest.fixture(scope="module")
def package_names():
    files = list((ROOT / "t2vlearn").rglob("*.py"))
    return set().union(*(names_in(path.read_text()) for path in files)) | {path.stem for path in files} | {"t2vlearn"}


def test_the_api_page_has_every_module_but_those_that_it_excepts():
    shown = set(re.findall(r'^page\("([\w.]+)"\)$', (ROOT / "book" / "d-api.md").read_text(), re.MULTILINE))
    paths = [path.relative_to(ROOT / "t2vlearn").with_suffix("") for path in (ROOT / "t2vlearn").rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths if path.parts[0] != "cli"}
    # The package's and the world's own files define nothing; a widget's base is no widget.
    assert modules - shown == {"__init__", "world", "widgets.base", "terminal", "world.places", "world.sprites"}
    assert shown <= modules


@each_chapter
def test_has_the_parts_of_a_chapter_in_their_order(path):
    headings = re.findall(r"^## (.+)$", prose(path), re.MULTILINE)
    assert headings[0] == "What you will learn"
    assert headings[-3:] == ["Exercises", "Summary", "References"]


@each_chapter
def test_says_how_long_reading_takes(path):
    read = [cell for cell in before_the_exercises(path) if "hide-input" not in cell["metadata"].get("tags", [])]
    text = "\n".join(cell["source"] for cell in read if cell["cell_type"] == "markdown")
    lines = sum(cell["source"].count("\n") + 1 for cell in read if cell["cell_type"] == "code")
    minutes = len(re.findall(r"[A-Za-z’'-]+", text)) / 180 + lines / 12
    stated = {
        number for number, word in MINUTES.items() if re.search(rf"takes about {word} minutes", " ".join(text.split()))
    }
    assert len(stated) == 1 and abs(minutes - stated.pop()) <= 5, f"reading takes about {minutes:.0f} minutes"


def test_toc_names_files_that_exist():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = toc.get("chapters", []) + [chapter for part in toc.get("parts", []) for chapter in part["chapters"]]
    names = [toc["root"], *(chapter["file"] for chapter in chapters)]
    missing = [name for name in names if not any((ROOT / f"{name}{suffix}").is_file() for suffix in (".ipynb", ".md"))]
    assert not missing


def test_notebooks_hold_no_outputs_and_name_their_cells():
    paths = sorted((ROOT / "book").glob("*.ipynb"))
    assert paths
    for path in paths:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        ids = [cell.get("id") for cell in cells]
        assert all(ids) and len(set(ids)) == len(ids), f"{path.name}: a cell without an id of its own"
        for cell in cells:
            assert not cell.get("outputs") and not cell.get("execution_count"), f"{path.name}: outputs in {cell['id']}"


@each_page
def test_every_picture_has_words_of_its_own(path):
    drawn = [cell for cell in cells(path, "code") if {n for n, _ in calls(cell["source"])} & {"show_clips", "plt.show"}]
    alts = [cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "") for cell in drawn]
    assert all(len(alt.split()) >= 5 for alt in alts), [c["id"] for c, alt in zip(drawn, alts) if len(alt.split()) < 5]
    assert len(set(alts)) == len(alts)
    for alt, target in re.findall(r"!\[(.*?)\]\((.*?)\)", prose(path), re.DOTALL):
        assert len(alt.split()) >= 5 and (path.parent / target).is_file(), target
    for cell in cells(path, "code"):
        for name, keywords in calls(cell["source"]):
            pictures = name in ("player", "chooser", "ClipSlider", "ClipGrid", "ClipTree")
            assert not pictures or keywords & {"alt", "alts"}, cell["id"]


@each_chapter
def test_something_can_be_moved_in_the_page_itself(path):
    called = {name for cell in cells(path, "code") for name, _ in calls(cell["source"])}
    moving = {"AttentionViewer", "ClipGrid", "ClipSlider", "ClipTree", "CostCalculator", "ScheduleExplorer", "chooser"}
    assert called & moving


@each_page
def test_code_that_the_prose_names_exists(path, package_names):
    known = package_names.union(*(names_in(cell["source"]) for cell in cells(path, "code")))
    text = re.sub(r"```.*?```", "", prose(path), flags=re.DOTALL)
    spans = re.findall(r"(?<![`}])`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text)
    assert spans
    unknown = [span for span in spans if not (set(span.split(".")) <= known or (ROOT / span).is_file())]
    assert not unknown


# Settings and suppositions that may stand in words. What was measured stands in none: a cell prints it.
GIVEN = {"07": {"0.3"}, "09": {"0.2"}, "11": {"70%", "87%"}, "13": {"1.0", "2.0"}, "a-": {"0.3", "3.7", "1.7", "10.2"}}


@each_page
def test_no_measured_number_stands_in_prose(path):
    """Decimals, percentages and quantities, outside formulas, code, and references to the article's sections."""
    text = re.sub(
        r"```(?:python|text)?\n.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)", " ", prose(path), flags=re.DOTALL
    )
    text = re.sub(r"[Ss]ections? \d\.\d(?:(?:, | and | to )\d\.\d)*|\(\d\.\d\)|CC BY 4\.0|Apache-2\.0", " ", text)
    numbers = set(re.findall(r"\d+\.\d+|\d+ ?%|\d+(?= (?:dB|decibels|seconds?|minutes?|clips a second)\b)", text))
    assert numbers <= GIVEN.get(path.name[:2], set())


@each_chapter
def test_each_exercise_has_a_hidden_solution_that_runs(path):
    labels = re.findall(r"```\{exercise\}[^\n]*\n:label: (\S+)", prose(path))
    assert 2 <= len(labels) <= 5 and len(set(labels)) == len(labels)
    solved, inside, ran = [], None, False
    for cell in cells(path):
        if cell["cell_type"] == "code":
            ran = ran or inside is not None
            continue
        if start := re.search(r"```\{solution-start\} (\S+)\n:class: dropdown\n```", cell["source"]):
            assert inside is None
            inside, ran = start[1], False
        if "```{solution-end}" in cell["source"]:
            assert ran, f"the solution of {inside} runs nothing"
            solved, inside = [*solved, inside], None
    assert solved == labels and inside is None


def test_no_two_exercises_share_a_label():
    labels = [label for path in CHAPTERS for label in re.findall(r"^:label: (\S+)", prose(path), re.MULTILINE)]
    assert labels and len(set(labels)) == len(labels)


@each_page
def test_every_random_number_has_a_seed(path):
    for cell in cells(path, "code"):
        for name, keywords in calls(cell["source"]):
            assert name != "pipe" or "seed" in keywords, f"{cell['id']}: pipe without a seed"
            assert not name.startswith("torch.rand") or "generator" in keywords, (
                f"{cell['id']}: {name} without a generator"
            )
            assert not name.startswith("np.random.") or name == "np.random.default_rng", f"{cell['id']}: {name}"


def test_the_welcome_page_names_what_exists(package_names):
    text = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make (\w+)`", text)) <= set(targets)
    for page in re.findall(r"\{doc\}`[^<`]*<([^>]+)>`", text):
        assert any((ROOT / "book" / f"{page}{suffix}").is_file() for suffix in (".ipynb", ".md"))
    listings = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert listings and all(names_in(listing) - {"pipe"} <= package_names for listing in listings)


def test_the_flow_chart_shows_the_true_shapes():
    from t2vlearn import TextToVideoPipeline

    pipe = TextToVideoPipeline()
    words = len(pipe.text_encoder.pieces("a brown puppy plays in the park"))
    c, grid = pipe.config, pipe.config.size // pipe.config.down
    drawing = (ROOT / "book" / "figures" / "pipeline.svg").read_text(encoding="utf-8")
    for shape in [
        (1, words, c.dim),
        (1, c.latent_channels, c.num_keyframes, grid, grid),
        (1, c.latent_channels, c.num_frames, grid, grid),
    ]:
        assert f"= {shape}<" in drawing
    assert f">{c.num_frames} frames,<" in drawing and f">{c.num_keyframes} key frames,<" in drawing
    assert drawing.count(f"{c.size} × {c.size} × 3") == 2
    assert drawing.count('href="#puppy"') == c.num_frames + c.num_keyframes
    parts = re.findall(r'class="part"[^>]*>([\w.]+)<', drawing)
    assert parts == ["TextEncoder", "VisualEncoder", "VideoGenerator", "FrameCodec.decode"]
    made = [
        type(m).__name__
        for m in (pipe.text_encoder, pipe.visual_encoder, pipe.video_generator, pipe.visual_encoder.codec)
    ]
    assert [part.split(".")[0] for part in parts] == made and callable(pipe.visual_encoder.codec.decode)


@each_chapter
def test_every_reference_stands_in_the_bibliography(path):
    """A line of References names a work in italics and cites it; only the article itself has no entry."""
    keys = set(
        re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    )
    references = prose(path).split("## References")[1]
    for line in re.split(r"^\* ", references, flags=re.MULTILINE)[1:]:
        cited = re.findall(r"\{cite\}`([^`]+)`", line)
        assert set(cited) <= keys and (cited or "article" in line), line
