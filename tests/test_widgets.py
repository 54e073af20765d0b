"""Widgets: what they hold in Python, and how the same script behaves in a real browser without a kernel."""

import base64
import hashlib
import queue
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch

from t2vlearn.costs import PUBLISHED, Plan
from t2vlearn.diffusion import DDPM, RectifiedFlow, cosine_beta, linear_beta
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.widgets import (
    AttentionViewer,
    ClipGrid,
    ClipSlider,
    ClipTree,
    CostCalculator,
    DrawingBoard,
    Playground,
    ScheduleExplorer,
)
from t2vlearn.widgets.base import script

CLIPS = [np.stack([np.full((8, 16, 3), value + i, np.uint8) for i in range(3)]) for value in (0, 120, 250)]
NAMES = ["black", "grey", "white"]


def slider(**changes):
    return ClipSlider(CLIPS, **{"labels": NAMES, "alts": NAMES, "question": "Which?", "milliseconds": 30} | changes)


def viewer():
    weights = torch.tensor([[[[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.9], [0.25, 0.75]]]])  # one layer, two heads
    return AttentionViewer(["red", "car"], weights)


def grey(value, frames=3):
    return np.full((frames, 8, 8, 3), value, np.uint8)


def tree(depth=2, **changes):
    """Left makes the picture darker by 40, right lighter; the note is the grey of the clip before."""

    def go_on(clip, actions):
        before = int(clip[-1, 0, 0, 0])
        return [(grey(before + (40 if action == "lighter" else -40)), f"was {before}") for action in actions]

    options = {"question": "Darker or lighter?", "alt": "a grey square", "fps": 50} | changes
    return ClipTree(grey(120), {"ArrowLeft": "darker", "ArrowRight": "lighter"}, go_on, depth, **options)


# ------------------------------------------------------------------ in Python


def test_a_widget_goes_to_a_notebook_and_brings_its_own_page():
    for widget in (slider(), viewer(), ScheduleExplorer(), DrawingBoard(), tree(), CostCalculator()):
        data, _ = widget._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data and data["text/html"].count("<script") == 1
        assert "http" not in data["text/html"].replace(
            "http://www.w3.org/2000/svg", ""
        )  # the name of SVG, not an address


@pytest.mark.parametrize("text", ["</script><b>", "<!--<script>"])
def test_text_of_a_reader_can_neither_end_the_script_nor_begin_one(shown, text):
    assert slider(question=text)._static().count("<script") == 1
    assert shown(slider(question=text)).get_by_role("slider", name=text).is_visible()


@pytest.mark.parametrize(
    "changes", [{"labels": ["one"]}, {"alts": ["a", "b"]}, {"notes": []}, {"alts": ["a", " ", "c"]}]
)
def test_every_clip_needs_its_words(changes):
    with pytest.raises(ValueError, match="the labels ask for|for those who cannot see"):
        slider(**changes)


def test_weights_have_to_fit_the_words():
    with pytest.raises(ValueError, match="2 words need weights"):
        AttentionViewer(["red", "car"], torch.zeros(1, 1, 3, 3))


def test_a_board_gives_back_what_was_drawn():
    image = np.zeros((32, 32, 4), np.uint8)
    image[3:9, 4:6] = (230, 31, 36, 255)  # red
    image[9, 4] = (255, 255, 255, 255)
    board = DrawingBoard(image)
    assert np.array_equal(board.drawing, image) and board.pixels.count("r") == 12
    assert not DrawingBoard().drawing.any()
    with pytest.raises(ValueError, match="32 x 32 x 4"):
        DrawingBoard(image[:8])


def test_a_tree_makes_all_branches_and_each_goes_on_from_its_own_clip():
    made = tree(depth=2).clips
    assert set(made) == {"", "0", "1", "00", "01", "10", "11"}
    assert {path: clip["note"] for path, clip in made.items() if len(path) == 2} == {
        "00": "was 80", "01": "was 80", "10": "was 160", "11": "was 160",
    }  # fmt: skip
    assert made["01"]["alt"] == "a grey square, lighter" and made["01"]["frames"] == 3


def test_the_kernel_makes_a_branch_when_it_is_played():
    widget, said = tree(depth=1), []
    widget.send = said.append
    for path in ("01", "011"):
        widget._hear({"type": "go", "path": path})
    assert [(m["path"], m["clip"]["note"]) for m in said] == [("01", "was 80"), ("011", "was 120")]


@pytest.mark.parametrize("changes", [{"alt": " "}, {"first": np.zeros((3, 8, 9, 3), np.uint8)}, {"actions": {}}])
def test_a_tree_needs_actions_square_frames_and_words(changes):
    plain = {"first": grey(0), "actions": {"a": "b"}, "go_on": None, "depth": 0, "question": "?", "alt": "grey"}
    assert ClipTree(**plain).size == 8
    with pytest.raises(ValueError, match="one to ten actions"):
        ClipTree(**plain | changes)


# ------------------------------------------------------------------ in a browser


@pytest.fixture
def shown(browser):
    """A function that puts a widget into a page without anything else."""
    context = browser.new_context()

    def show(widget):
        page, errors = context.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_content(f"<!doctype html><body>{widget._static()}</body>")
        page.wait_for_selector(".t2v-widget > *")
        assert not errors
        return page

    yield show
    context.close()


@pytest.mark.parametrize("make", [slider, viewer, tree, ScheduleExplorer, DrawingBoard, CostCalculator])
def test_a_page_may_forbid_everything_but_the_widgets_own_script_and_pictures(browser, make):
    html = make()._static()
    code = html.partition('<script type="module">')[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:"
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_content(f'<head><meta http-equiv="Content-Security-Policy" content="{policy}"></head><body>{html}</body>')
    page.wait_for_selector(".t2v-widget > *")
    styled = page.locator(".t2v-widget [style]").first
    assert styled.evaluate("node => node.style.length") > 0 and not said
    page.locator("body").evaluate("body => body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    assert any("Content Security Policy" in text for text in said)  # the policy is at work
    page.close()


def test_the_slider_follows_mouse_and_keys_and_shows_all_in_turn(shown):
    page = shown(slider(notes=["first", "second", "third"]))
    picture, dial, output = page.locator("img"), page.get_by_role("slider", name="Which?"), page.locator("span").first
    assert picture.get_attribute("alt") == "black" and picture.bounding_box()["width"] == 256
    dial.press("ArrowRight")
    assert (picture.get_attribute("alt"), output.text_content()) == ("grey", "grey")
    assert page.get_by_text("second").is_visible() and dial.get_attribute("aria-valuetext") == "grey"
    dial.press("End")
    assert output.text_content() == "white"
    page.get_by_role("button", name="Show in turn").click()  # from the end it starts again
    page.wait_for_function("document.querySelector('img').alt === 'black'")
    page.wait_for_function("document.querySelector('img').alt === 'white'")
    assert page.get_by_role("button", name="Show in turn").is_visible()


def test_a_grid_has_a_slider_for_each_axis_and_runs_along_the_last(shown):
    axes = {"Guidance": ["1", "3"], "Steps": ["2", "5", "10"]}
    names = [f"guidance {g}, steps {s}" for g in axes["Guidance"] for s in axes["Steps"]]
    page = shown(ClipGrid(CLIPS * 2, axes, names, milliseconds=30))
    picture, guidance, steps = page.locator("img"), *(page.get_by_role("slider", name=name) for name in axes)
    assert picture.get_attribute("alt") == "guidance 1, steps 2"
    steps.press("End")
    guidance.press("ArrowRight")
    assert picture.get_attribute("alt") == "guidance 3, steps 10"
    assert (guidance.get_attribute("aria-valuetext"), steps.get_attribute("aria-valuetext")) == ("3", "10")
    steps.press("Home")
    assert picture.get_attribute("alt") == "guidance 3, steps 2"
    page.get_by_role("button", name="Show in turn").click()
    page.wait_for_function("document.querySelector('img').alt === 'guidance 3, steps 10'")
    assert page.get_by_role("button", name="Show in turn").is_visible()


@pytest.mark.parametrize("make", [slider, viewer, tree, ScheduleExplorer, DrawingBoard, CostCalculator])
def test_a_notebooks_shortcuts_do_not_take_the_keys_of_a_widget(shown, make):
    page = shown(make())
    keyed = page.locator(".t2v-widget").locator("a, button, input, select, summary, [tabindex]")
    assert keyed.count() and keyed.evaluate_all("all => all.every((e) => 'lmSuppressShortcuts' in e.dataset)")


def test_a_widget_without_a_script_says_what_it_lacks(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(f"<body>{slider()._static()}</body>")
    assert "needs JavaScript" in page.locator(".t2v-widget").text_content()
    context.close()


def test_labels_say_which_language_they_are_in(shown):
    page = shown(slider(labels=["a red car", "一辆红色的汽车", "white"]))
    dial = page.get_by_role("slider", name="Which?")
    dial.press("ArrowRight")
    assert dial.get_attribute("lang") == page.locator("span").first.get_attribute("lang") == "zh"
    dial.press("Home")
    assert dial.get_attribute("lang") == "en"


def grey_of(page):
    return page.evaluate("document.querySelector('canvas').getContext('2d').getImageData(4, 4, 1, 1).data[0]")


def test_a_tree_is_played_with_keys_and_buttons_to_its_end_and_again(shown):
    page = shown(tree(depth=2))
    stage, says = page.get_by_role("group", name="Darker or lighter?"), page.get_by_role("status")
    left, right = (page.get_by_role("button", name=name) for name in ("darker", "lighter"))
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label') === 'a grey square'")
    assert grey_of(page) == 120
    stage.press("ArrowRight")
    page.wait_for_function("document.querySelector('[role=status]').textContent === 'lighter. was 120'")
    assert grey_of(page) == 160 and page.locator("canvas").get_attribute("aria-label") == "a grey square, lighter"
    left.click()  # the clip before may still be playing: then it is shown to its end first
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('end here')")
    assert grey_of(page) == 120 and says.text_content().startswith("lighter, then darker. was 160")
    assert left.is_disabled() and right.is_disabled()
    assert page.evaluate("document.activeElement.textContent") == "Start again"  # the button that was pressed is off
    stage.press("ArrowLeft")
    page.get_by_role("button", name="Start again").click()
    page.wait_for_function("document.querySelector('[role=status]').textContent === ''")
    assert grey_of(page) == 120 and left.is_enabled()


def test_less_motion_is_respected(browser):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.set_content(f"<body>{slider()._static()}</body>")
    page.wait_for_selector("img")
    picture, (moves, still) = page.locator("img"), slider().pictures[0]
    assert picture.get_attribute("src") == still != moves
    page.get_by_role("button", name="Play").click()
    assert picture.get_attribute("src") == moves
    page.get_by_role("button", name="Pause").click()
    assert picture.get_attribute("src") == still
    rising = np.concatenate([grey(value, 1) for value in (40, 80, 120)])
    page.set_content(
        f"<body>{ClipTree(rising, {'a': 'go on'}, lambda *_: [], depth=0, question='?', alt='grey', fps=5)._static()}</body>"
    )
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label') === 'grey'")
    assert grey_of(page) == 120  # its last frame
    page.get_by_role("button", name="Play this clip").click()
    first = "document.querySelector('canvas').getContext('2d').getImageData(4, 4, 1, 1).data[0]"
    for value in (40, 80, 120):
        page.wait_for_function(f"{first} === {value}")
    context.close()


def test_a_key_that_is_held_chooses_once(shown):
    page = shown(tree(depth=2))
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label') === 'a grey square'")
    held = """() => { for (const repeat of [false, true, true])
        document.querySelector("[role=group]").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", repeat })); }"""
    page.evaluate(held)
    page.wait_for_function("document.querySelector('[role=status]').textContent === 'lighter. was 120'")
    page.wait_for_timeout(300)  # longer than the clip
    assert page.get_by_role("status").text_content() == "lighter. was 120"


def test_the_viewer_shades_by_the_chosen_head(shown):
    page = shown(viewer())

    def shares():
        return page.locator("button small").all_text_contents()

    assert shares() == ["50%", "50%"]  # the mean of both heads
    page.get_by_label("Head").select_option("head 2")
    assert shares() == ["10%", "90%"] and "most at “car”" in page.get_by_role("status").text_content()
    page.get_by_role("button", name="car").press("Enter")
    assert shares() == ["25%", "75%"]
    assert page.get_by_role("button", name="car").get_attribute("aria-pressed") == "true"


def module_page(browser, name):
    """A page in which a widget's module is `widget`."""
    source = script(name).replace("export default", "window.widget =")
    page = browser.new_page()
    page.add_script_tag(content=source, type="module")
    page.wait_for_function("window.widget")
    return page


@pytest.mark.parametrize(
    ("kind", "dial", "model"),
    [
        ("linear", 0.02, DDPM(linear_beta(100, 1e-4, 0.02))),
        ("cosine", 0.008, DDPM(cosine_beta(100))),
        ("flow", 3.0, RectifiedFlow(shift=3.0)),
    ],
    ids=["linear", "cosine", "flow"],
)
def test_the_explorers_formulas_are_the_packages(browser, kind, dial, model):
    page = module_page(browser, "schedule_explorer.js")
    found = torch.tensor(page.evaluate(f"widget.factors('{kind}', 100, {dial})"), dtype=torch.float64)
    levels = sorted(model.levels(100))[1:]  # without the clean end
    wanted = torch.stack(
        [
            torch.as_tensor(c, dtype=torch.float64).flatten()
            for c in model.coefficients(torch.tensor(levels, dtype=torch.float64))
        ],
        1,
    )
    torch.testing.assert_close(found, wanted.view(100, 2), atol=1e-6, rtol=1e-5)
    page.close()


def test_the_explorer_says_what_its_dials_do(shown):
    page = shown(ScheduleExplorer(100))
    says = page.get_by_role("status")
    before = says.text_content()
    page.get_by_role("slider", name="Step").press("ArrowRight")
    assert says.text_content() != before and "At step 51" in says.text_content()
    page.get_by_label("Schedule", exact=True).select_option("straight lines")
    page.get_by_role("slider", name="Step").press("End")
    assert "0.000 of the signal, 1.000 of the noise" in says.text_content()
    assert "straight lines" in page.locator("svg").get_attribute("aria-label")


def drawn(page):
    """Colour of every cell that is not empty, {(column, row): (red, green, blue)}, from the file that the page offers."""
    pixels = page.evaluate(
        """async () => {
            const image = new Image();
            image.src = document.querySelector("a[download='drawing.png']").href;
            await image.decode();
            const ink = new OffscreenCanvas(image.width, image.height).getContext("2d");
            ink.drawImage(image, 0, 0);
            return [...ink.getImageData(0, 0, image.width, image.height).data];
        }"""
    )
    rgba = np.array(pixels).reshape(32, 32, 4)
    return {(int(x), int(y)): tuple(rgba[y, x, :3].tolist()) for y, x in np.argwhere(rgba[..., 3])}


def test_the_board_is_drawn_on_by_pointer_and_keys(shown):
    page = shown(DrawingBoard())
    board = page.get_by_role("application")
    box = board.bounding_box()
    cell = box["width"] / 32

    def move(column, row):
        page.mouse.move(box["x"] + (column + 0.5) * cell, box["y"] + (row + 0.5) * cell)

    move(2, 5)
    page.mouse.down()
    move(6, 5)  # in one leap: the cells between are painted too
    page.mouse.up()
    red = (230, 31, 36)
    assert drawn(page) == {(x, 5): red for x in range(2, 7)}
    page.get_by_role("button", name="black").click()
    board.press("ArrowDown")
    board.press("Space")
    assert drawn(page)[6, 6] == (33, 28, 36) and "column 7, row 7: black" in page.get_by_role("status").text_content()
    page.get_by_role("button", name="eraser").click()
    board.press("ArrowUp")
    board.press("Space")
    assert (6, 5) not in drawn(page)
    page.get_by_role("button", name="Clear").click()
    assert not drawn(page)


OURS = Plan(3e6, 64, 128, 4, 5e5, steps=20, peak=1e11, used=1.1, cards=2, watts=15, price=0.04, published_days=0.05)


@pytest.mark.parametrize("plan", [*PUBLISHED.values(), OURS], ids=[*PUBLISHED, "ours"])
def test_the_calculators_arithmetic_is_the_packages(browser, plan):
    page = module_page(browser, "cost_calculator.js")
    found = page.evaluate("plan => widget.costs(plan)", asdict(plan))
    assert len(found) == 12
    for name, value in found.items():
        assert value == pytest.approx(getattr(plan, name), rel=1e-12), name
    page.close()


def test_the_calculator_starts_from_a_preset_and_says_when_it_is_left(shown):
    page = shown(CostCalculator({"ours": OURS}))
    says = page.get_by_role("status")
    assert "Known: 72 min of one card in training" in says.text_content()
    table = page.get_by_role("table")
    day = table.get_by_role("row", name="time on one card").get_by_role("cell").first.text_content()
    page.get_by_role("slider", name="Parameters", exact=True).press("ArrowRight")
    assert "Known" not in says.text_content() and page.get_by_text("Changed from: ours.").is_visible()
    assert table.get_by_role("row", name="time on one card").get_by_role("cell").first.text_content() != day
    page.get_by_label("Preset").select_option("CogVideoX-5B")
    assert "180 s a clip" in says.text_content() and "not known" in table.text_content()
    assert page.get_by_role("slider", name="Tokens of a clip").get_attribute("aria-valuetext") == "17.8 k"
    assert page.get_by_role("slider", name="Parameters", exact=True).get_attribute("aria-valuetext") == "5 B"


@pytest.mark.parametrize("end", ["Home", "End"])
def test_every_dial_of_the_calculator_reaches_its_ends_with_a_number(shown, end):
    page = shown(CostCalculator())
    for dial in page.get_by_role("slider").all():
        dial.press(end)
        assert dial.get_attribute("aria-valuetext")
    assert not any(word in page.get_by_role("table").text_content() for word in ("NaN", "Infinity", "undefined"))


# ------------------------------------------------------------------ the playground of a notebook


class Notebook:
    """What a notebook's front end does for a widget: it runs the script and carries messages, here to and from a real page."""

    def __init__(self, page, widget, state):
        self.page, self.answers = page, queue.Queue()
        widget.send = lambda content, buffers=None: self.answers.put((content, buffers or []))
        page.expose_function("toKernel", widget._hear)
        page.set_content("<main></main>")
        page.evaluate(
            """async ([script, state]) => {
                const listeners = new Set();
                window.fromKernel = (content, buffers) => {
                    const views = buffers.map((b) => new DataView(Uint8Array.from(atob(b), (c) => c.charCodeAt(0)).buffer));
                    for (const listener of listeners) listener(content, views);
                };
                const model = { get: (name) => state[name], send: (content) => toKernel(content),
                    on: (_, listener) => listeners.add(listener), off: (_, listener) => listeners.delete(listener) };
                const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
                (await import(url)).default.render({ model, el: document.querySelector("main") });
            }""",
            [str(widget._esm), state],
        )

    def until(self, said: str) -> None:
        """Carry messages until the status line says so."""
        end = time.monotonic() + 60
        while said not in self.page.get_by_role("status").text_content():
            assert time.monotonic() < end, self.page.get_by_role("status").text_content()
            self.page.wait_for_timeout(10)
            while not self.answers.empty():
                content, buffers = self.answers.get()
                self.page.evaluate(
                    "(message) => fromKernel(...message)", [content, [base64.b64encode(b).decode() for b in buffers]]
                )


def test_in_a_notebook_a_tree_asks_the_kernel_for_what_is_not_there(browser):
    context = browser.new_context()
    page, widget = context.new_page(), tree(depth=1)
    state = {name: getattr(widget, name) for name in widget.trait_names(static=True)}
    notebook = Notebook(page, widget, state)
    for _ in range(2):  # the second choice leaves what was made ahead
        page.wait_for_timeout(100)
        page.get_by_role("group").press("ArrowLeft")
    notebook.until("darker, then darker. was 80")
    assert grey_of(page) == 40
    context.close()


def test_in_a_notebook_a_tree_that_is_begun_again_stays_there(browser):
    """What the kernel was still making is kept for later, and not shown; presses meanwhile are not asked for again."""
    context = browser.new_context()
    page, widget = context.new_page(), tree(depth=0)
    heard, hear = [], widget._hear
    widget._hear = lambda content: (heard.append(content), hear(content))
    notebook = Notebook(page, widget, {name: getattr(widget, name) for name in widget.trait_names(static=True)})
    page.wait_for_timeout(200)
    for _ in range(3):
        page.get_by_role("group").press("ArrowLeft")
    page.get_by_role("button", name="Start again").click()
    page.wait_for_timeout(100)
    assert [content["path"] for content in heard] == ["0"]
    page.evaluate("(message) => fromKernel(...message)", [notebook.answers.get_nowait()[0], []])  # its answer
    page.wait_for_timeout(200)
    assert grey_of(page) == 120
    page.get_by_role("group").press("ArrowLeft")
    notebook.until("darker. was 120")
    assert len(heard) == 1
    context.close()


def test_a_tree_whose_maker_fails_tells_the_page(monkeypatch):
    def broken(clip, actions):
        raise RuntimeError("no clip")

    widget, sent = ClipTree(grey(80), {"a": "go on"}, broken, depth=0, question="?", alt="grey"), []
    monkeypatch.setattr(widget, "send", sent.append)
    with pytest.raises(RuntimeError, match="no clip"):
        widget._hear({"type": "go", "path": "0"})
    assert sent == [{"type": "error", "path": "0"}]


@pytest.fixture
def notebook(browser, tiny_pipeline):
    context = browser.new_context()
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    widget = Playground(tiny_pipeline, prompt="a red car")
    yield Notebook(page, widget, {"prompt": widget.prompt, "manifest": widget.manifest})
    assert not errors
    context.close()


def test_a_playground_refuses_clips_that_its_judge_cannot_read():
    with pytest.raises(ValueError, match="16 frames"):
        Playground(TextToVideoPipeline(num_frames=8, dim=16, depth=1, num_heads=2, text_depth=1))


def test_in_a_notebook_the_kernel_makes_the_clip(notebook, tiny_pipeline):
    page = notebook.page
    notebook.until("kernel")
    page.get_by_label("Steps", exact=True).select_option("5")
    page.get_by_role("button", name="Make the clip").click()
    notebook.until("The judge")
    page.wait_for_timeout(200)  # the last frames are packed before they are shown
    pixels = page.evaluate(
        """async () => {
            const file = await (await fetch(document.querySelector("a[download]").href)).blob();
            const image = await createImageBitmap(file);
            const ink = new OffscreenCanvas(image.width, image.height).getContext("2d");
            ink.drawImage(image, 0, 0);
            return [...ink.getImageData(0, 0, image.width, image.height).data];
        }"""
    )
    wanted = tiny_pipeline("a red car", num_inference_steps=5, seed=0).frames[0, 0].repeat(8, 0).repeat(8, 1)
    assert np.array_equal(np.array(pixels).reshape(256, 256, 4)[..., :3], wanted)
    scrub = page.get_by_role("slider", name="Step of the making")
    scrub.press("Home")
    assert scrub.get_attribute("aria-valuetext") == "key frames, step 1 of 5"
    assert not page.get_by_role("link", name="Link to this prompt and its settings").is_visible()


def test_the_kernel_hears_stop_and_answers_what_it_cannot_do(notebook):
    page = notebook.page
    page.get_by_label("Steps", exact=True).select_option("40")
    page.get_by_role("button", name="Make the clip").click()
    page.get_by_role("button", name="Stop").click()
    notebook.until("Stopped.")
    page.get_by_label("Steps", exact=True).select_option("5")
    page.get_by_role("button", name="Make the clip").click()
    notebook.until("The judge")
    page.get_by_label("Prompt, in English or Chinese").fill("a " * 140)
    page.get_by_role("button", name="Make the clip").click()
    notebook.until("at most 48")
