"""The README's two pictures: clips of the bundled weights, and a page of the book as Chromium shows it.

make book && .venv/bin/python benchmarks/recipes/readme_pictures.py
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from t2vlearn import TextToVideoPipeline
from t2vlearn.media import write_clips

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "book" / "figures"
PAGE = ROOT / "_build" / "html" / "book" / "10-generating.html"
PROMPTS = [
    "a brown puppy plays in the park",
    "一颗蓝色的星星在海滩上跳跃",
    "a red car drives to the left in the snow",
    "a green heart grows at night",
]


def main() -> None:
    """Write clips.webp and page.png into book/figures."""
    frames = TextToVideoPipeline.from_pretrained()(PROMPTS, seed=0).frames
    write_clips(FIGURES / "clips.webp", frames)
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
        page.goto(PAGE.as_uri())
        page.locator(".t2v-widget").last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 260)
        page.wait_for_timeout(1500)
        page.screenshot(path=FIGURES / "page.png")
        browser.close()


if __name__ == "__main__":
    main()
