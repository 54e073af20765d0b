"""The built pages in a real browser: nothing from another host, no errors, formulas drawn, choices that react, readable by all.

`make book` builds the pages and `make pages` runs this; without pages or a browser it is skipped.
"""

import re
from functools import partial
from itertools import product
from pathlib import Path

import pytest

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in (HTML / "book").glob("*.html"))
#: Errors of the theme's own scripts, which harm nothing.
KNOWN_ERRORS = ("THEBE_JS_URL",)
THEMES, WIDE = ("light", "dark"), {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(not PAGES, reason="needs the pages of `make book`")
each_page = pytest.mark.parametrize("name", PAGES or ["none"])


@pytest.fixture(scope="module")
def site(serve):
    """Address of the built pages, under a sub-path as on many hosts."""
    return serve(HTML.parent) + "html/"


def load(context, site, name):
    """The page, once its formulas are drawn, and all that went wrong while it loaded, or goes wrong later."""
    page, wrong = context.new_page(), []

    def answered(response):
        if response.status >= 400:
            wrong.append(f"{response.status} {response.url}")

    def asked(call):
        if not call.url.startswith((site, "data:", "blob:")):
            wrong.append(f"asks another host: {call.url}")

    page.on("request", asked)
    page.on("response", answered)
    page.on("pageerror", lambda e: any(k in str(e) for k in KNOWN_ERRORS) or wrong.append(f"error: {e}"))
    page.goto(site + name, wait_until="load")
    page.wait_for_function("!window.MathJax || (MathJax.startup && MathJax.startup.promise)")
    page.evaluate("window.MathJax ? MathJax.startup.promise.then(() => true) : true")
    return page, wrong


@pytest.fixture(scope="module", params=list(product(PAGES or ["none"], THEMES)), ids="-".join)
def opened(request, browser, site):
    """Each page in each theme, loaded once: tests share it, and leave it as they found it."""
    name, theme = request.param
    with browser.new_context(color_scheme=theme, viewport=WIDE) as context:
        page, wrong = load(context, site, name)
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        yield page, wrong


@pytest.fixture(params=THEMES)
def own(request, browser, site):
    """A function that opens a page for one test alone."""
    with browser.new_context(color_scheme=request.param, viewport=WIDE) as context:
        yield partial(load, context, site)


def test_a_page_is_whole_and_needs_nobody(opened):
    page, wrong = opened
    page.wait_for_load_state("networkidle")
    assert not wrong
    undrawn = (
        """[...document.querySelectorAll('article .math')].filter(e => !e.querySelector('mjx-container svg')).length"""
    )
    assert page.evaluate(undrawn) == 0
    broken = """[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.currentSrc.slice(0, 80))"""
    assert page.evaluate(broken) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 390, "height": 844})
    narrow = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size(WIDE)
    assert narrow <= 390


def test_nothing_in_our_content_shuts_anyone_out(opened):
    """axe-core's rules of impact "serious" or "critical", on the article's content (but docutils' own list of citations)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page, _ = opened
    found = (
        axe.Axe().run(page, context={"include": [["article"]], "exclude": [[".citation-list"]]}).response["violations"]
    )
    bad = {v["id"]: [n["html"][:100] for n in v["nodes"][:3]] for v in found if v["impact"] in ("serious", "critical")}
    assert not bad


def test_choices_react_to_mouse_and_keyboard(opened):
    page, _ = opened
    for group in page.locator("article fieldset").all():
        buttons, panels = group.locator("input[type=radio]"), group.locator(":scope > div")

        def shown(panels=panels):
            return [panel.is_visible() for panel in panels.all()]

        n = buttons.count()
        assert n == panels.count() >= 2 and shown() == [i == 0 for i in range(n)]
        buttons.nth(1).check()
        assert shown() == [i == 1 for i in range(n)]
        buttons.nth(1).press("ArrowRight")
        assert shown() == [i == 2 % n for i in range(n)]
        buttons.nth(0).check()


@each_page
def test_widgets_react_to_keys_and_clicks_on_wide_and_narrow_screens(own, name):
    page, wrong = own(name)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.reload(wait_until="load")  # a board that was cleared at the first width has something on it again
        for widget in page.locator("article .t2v-widget").all():

            def look(widget=widget):
                return widget.evaluate("e => e.innerHTML + [...e.querySelectorAll('input, select')].map(i => i.value)")

            for dial in widget.get_by_role("slider").all():
                dial.press("Home")
                before = look()
                dial.press("ArrowRight")
                assert look() != before
                assert dial.get_attribute("aria-label") or dial.evaluate("e => e.labels.length")
            buttons = widget.get_by_role("button").all()
            assert widget.get_by_role("slider").count() or buttons
            for button in buttons[-2:]:
                before = look()
                button.click()
                for _ in range(60):  # a clip that is playing is shown to its end first
                    if look() != before or button.get_attribute("aria-pressed") == "true":
                        break
                    page.wait_for_timeout(100)
                assert look() != before or button.get_attribute("aria-pressed") == "true"
            assert widget.bounding_box()["width"] <= width
    assert not wrong


@pytest.mark.parametrize(
    "name", [name for name in PAGES if "_live/playground.js" in (HTML / name).read_text(encoding="utf-8")] or ["none"]
)
def test_the_model_runs_in_every_page_that_has_a_playground(own, name):
    page, wrong = own(name)
    page.get_by_label("Steps", exact=True).select_option("5")
    page.get_by_role("button", name="Make the clip").click()
    page.wait_for_function(
        "document.querySelector('.t2v-live [role=status]').textContent.includes('judge')", timeout=120_000
    )
    assert not wrong


@each_page
def test_a_page_weighs_little(name):
    """At most 3 MB with its own pictures; what all pages share (_static) is fetched once."""
    text = (HTML / name).read_text(encoding="utf-8")
    pictures = {HTML / "_images" / file for file in re.findall(r"_images/([\w.-]+)", text)}
    assert len(text.encode()) + sum(picture.stat().st_size for picture in pictures) <= 3_000_000
