"""The page's scripts against Python: tokens, noise, the whole way from a prompt to pixels, and what a reader can do wrong."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from t2vlearn import widgets
from t2vlearn.pipeline import to_tensor
from t2vlearn.world import COLOURS, Actor, Scene, extend_prompt, parse_prompt, sample_scenes
from t2vlearn.world.scenes import SECOND

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "book" / "_vendor" / "ort"
SCRIPT = """
import { inPage, mount } from "./_live/playground.js";
const folder = (name) => new URL(name, location.href).href;
mount(document.getElementById("here"), inPage({ model: folder("./_live/model/"), runtime: folder("./ort/") }));
"""
PAGE = f"""<!doctype html><meta charset="utf-8"><title>live</title>
<main id="here"></main><script type="module">{SCRIPT}</script>"""
#: The strictest policy under which the page works: its own files, WebAssembly, and pictures that it makes itself.
POLICY = (
    f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' "
    f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'; "
    "worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' blob: data:"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, onnx_files):
    """A site under a sub-path: scripts, runtime, and a tiny model in float32."""
    root = tmp_path_factory.mktemp("site")
    site = root / "sub" / "path"
    shutil.copytree(Path(widgets.__file__).parent / "live", site / "_live")
    shutil.copytree(RUNTIME, site / "ort")
    shutil.copytree(onnx_files, site / "_live" / "model")
    (site / "index.html").write_text(PAGE)
    return root


@pytest.fixture(scope="module")
def address(serve, folder):
    return serve(folder) + "sub/path/"


@pytest.fixture
def page(browser, address):
    context = browser.new_context()
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_function("document.querySelector('[role=status]')?.textContent.includes('MB')")
    yield page
    assert not errors
    context.close()


def in_modules(page, expression, value=None):
    """What an expression gives that may use all of the scripts' functions, `manifest` and `value`."""
    return page.evaluate(
        f"""async (value) => {{
            const here = new URL("./_live/", location.href).href;
            const [words, random, sampler, images] = await Promise.all(
                ["words", "random", "sampler", "apng"].map((name) => import(here + name + ".js")));
            const manifest = await (await fetch(here + "model/manifest.json")).json();
            return await ({expression});
        }}""",
        value,
    )


def make(page, prompt, seed=0, steps=5):
    page.get_by_label("Prompt, in English or Chinese").fill(prompt)
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_label("Steps", exact=True).select_option(str(steps))
    page.get_by_role("button", name="Make the clip").click()


def wait_for_clip(page):
    """Until the clip is there, or something went wrong."""
    page.wait_for_function(
        "!/Making|Fetching/.test(document.querySelector('[role=status]').textContent)", timeout=120_000
    )
    assert "judge" in page.get_by_role("status").text_content()


def test_pieces_and_ids_are_those_of_the_tokenizer(page, tiny_pipeline):
    scenes = sample_scenes(500, "heldout", seed=3)
    prompts = [str(s.caption(language, seed=i)) for i, s in enumerate(scenes) for language in ("en", "zh")]
    prompts += [
        "",
        "  A  Turquoise pupy!! ",
        "Ｆｕｌｌ　ｗｉｄｔｈ 一只🐶dog",
        "don't re\u0000d a\u0301ccent ÉCLAIR",
        "x" * 400,
        "42 кошки ΣΑΣ",
    ]
    encoder = tiny_pipeline.text_encoder
    wanted = [[encoder.pieces(prompt), encoder.tokenize([prompt])[0][0].tolist()] for prompt in prompts]
    got = in_modules(
        page,
        "value.map((p) => [words.pieces(p), new words.Words(manifest.tokenizer).tokenize(p)])",
        prompts,
    )
    assert got == wanted


def test_half_a_letter_parts_words_as_in_python(page, tiny_pipeline):
    assert in_modules(page, 'words.pieces("a\\ud800b")') == tiny_pipeline.text_encoder.pieces("a\ud800b")


def test_the_judge_reads_what_is_asked_as_in_python(page, tiny_judge):
    clips = np.random.default_rng(0).integers(0, 256, (3, 16, 32, 32, 3), np.uint8)
    two = [{key: seen[key] for key in ("subject", "subject_2")} for seen in tiny_judge.read(clips, actors=2)]
    asked = [{"subject": "puppy"}, two[1], {"subject": two[2]["subject_2"], "subject_2": two[2]["subject"]}]
    with torch.no_grad():
        logits = tiny_judge(tiny_judge.features(to_tensor(clips)))
    answers = [{name: value[i].flatten().tolist() for name, value in logits.items()} for i in range(3)]
    got = in_modules(
        page,
        """value.map(([answers, asked]) => sampler.reading(manifest, Object.fromEntries(
            Object.entries(answers).map(([name, data]) => [name, { data: Float32Array.from(data) }])), asked))""",
        [list(pair) for pair in zip(answers, asked)],
    )
    wanted = tiny_judge.read_as_asked(clips, asked)
    assert got == [{key: value for key, value in seen.items() if key != "confidence"} for seen in wanted]
    assert [seen["subject"] for seen in wanted[1:]] == [wish["subject"] for wish in asked[1:]]


def test_prompts_are_read_as_in_python(page):
    scenes = [*sample_scenes(300, "heldout", seed=4), *sample_scenes(100, "two_actors", seed=4)]
    prompts = [str(s.caption(language, seed=i)) for i, s in enumerate(scenes) for language in ("en", "zh")]
    prompts += ["the puppy’s ball jumps", "a star's car_park"]
    got = in_modules(page, "value.map((p) => new words.Words(manifest.tokenizer).named(p))", prompts)
    assert got == [parse_prompt(prompt) for prompt in prompts]


def test_what_a_prompt_leaves_open_is_said_where_python_says_it(page, tiny_pipeline):
    scenes = [*sample_scenes(150, "heldout", seed=6), *sample_scenes(150, "two_actors", seed=6)]
    prompts = [str(s.caption(language, seed=i)) for i, s in enumerate(scenes) for language in ("en", "zh")]
    prompts += ["", "hello", "at night", "a small car grows", "a small car and a dog", "a robot and a star", "很大的猫"]
    longer = in_modules(page, "value.map((p) => new words.Words(manifest.tokenizer).extended(p))", prompts)
    changed = [(before, after) for before, after in zip(prompts, longer) if before != after]
    assert [before for before, _ in changed] == [prompt for prompt in prompts if extend_prompt(prompt) != prompt]
    for before, after in changed:
        asked, said = parse_prompt(before), parse_prompt(after)
        assert asked.items() < said.items()
        actors = [
            Actor(*(said.get(f"{name}{end}", "small") for name in ("subject", "colour", "size", "action")))
            for end in ("", SECOND) if f"subject{end}" in said
        ]  # fmt: skip
        assert Scene(tuple(actors), said["place"]).attributes == said
        assert set(tiny_pipeline.text_encoder.pieces(after)) <= set(tiny_pipeline.text_encoder.words)
        assert after.isascii() == before.isascii()
    drawn = [parse_prompt(after).get("colour") for before, after in changed if "colour" not in parse_prompt(before)]
    assert set(drawn) == set(COLOURS)


@pytest.mark.parametrize("seed", [0, 7, 4294967295])
def test_the_noise_of_a_seed_is_torchs(page, tiny_pipeline, seed):
    frames, keyframes = tiny_pipeline.initial_noise([seed])
    got = in_modules(
        page,
        "(({ frames, keyframes }) => [[...frames], [...keyframes]])(sampler.initialNoise(manifest, value))",
        seed,
    )
    for ours, theirs in zip(got, (frames, keyframes), strict=True):
        np.testing.assert_allclose(np.array(ours), theirs.flatten().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "steps"), [("a brown puppy plays in the park", 5), ("一辆蓝色的车在海滩上向右开", 12)]
)
def test_a_prompt_and_a_seed_give_the_clip_that_python_gives(page, tiny_pipeline, prompt, steps):
    make(page, prompt, seed=3, steps=steps)
    wait_for_clip(page)
    page.wait_for_selector("a[download]:visible")
    picture = page.evaluate(
        "async () => [...new Uint8Array(await (await fetch(document.querySelector('a[download]').href)).arrayBuffer())]"
    )
    import io

    from PIL import Image, ImageSequence

    frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(Image.open(io.BytesIO(bytes(picture))))]
    wanted = tiny_pipeline(prompt, num_inference_steps=steps, seed=3).frames[0].repeat(8, 1).repeat(8, 2)
    assert np.abs(np.stack(frames).astype(int) - wanted).max() <= 1


def test_a_clip_is_made_under_a_strict_content_security_policy(browser, address, folder):
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    (folder / "sub" / "path" / "strict.html").write_text(PAGE.replace("<title>", policy + "<title>"))
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(address + "strict.html")
    page.get_by_role("status").filter(has_text="MB").wait_for()
    make(page, "a red star")
    page.get_by_role("link", name="Download the clip").wait_for(timeout=120_000)
    assert not [text for text in said if "Content Security Policy" in text]
    page.locator("body").evaluate("body => body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    assert [text for text in said if "Content Security Policy" in text]  # the policy is at work
    page.close()


def test_the_page_stays_awake_while_clips_are_made(page):
    """No task of the page's own thread takes 50 ms or more (the browser's measure of a long task), over two clips."""
    page.evaluate(
        "window.long = []; new PerformanceObserver((list) => long.push(...list.getEntries().map((e) => e.duration)))"
        ".observe({ type: 'longtask' })"
    )
    for seed in (0, 1):
        make(page, "a red car", seed=seed)
        wait_for_clip(page)
    assert page.evaluate("long") == []


def test_memory_stays_steady(page):
    """Twenty clips, one after the other: what the page holds after the last is what it held after the fifth."""
    held = []
    session = page.context.new_cdp_session(page)
    for seed in range(20):
        make(page, "a red car", seed=seed)
        wait_for_clip(page)
        session.send("HeapProfiler.collectGarbage")
        held.append(page.evaluate("performance.memory.usedJSHeapSize"))
    assert held[-1] < 1.2 * held[4]


def test_the_scrubber_goes_through_the_steps_and_the_judge_speaks(page):
    make(page, "a big red star jumps at night", steps=5)
    wait_for_clip(page)
    scrub = page.get_by_role("slider", name="Step of the making")
    assert scrub.get_attribute("aria-valuetext") == "the clip"
    scrub.press("Home")
    assert scrub.get_attribute("aria-valuetext") == "key frames, step 1 of 5"
    scrub.press("ArrowRight")
    assert "step 2 of 5" in page.locator("canvas").get_attribute("aria-label")
    assert "colour" in page.get_by_role("status").text_content()
    page.get_by_label("Prompt, in English or Chinese").fill("!")
    page.get_by_role("button", name="Make the clip").click()  # refused: what is shown is still the star
    scrub.press("Home")
    assert page.locator("canvas").get_attribute("aria-label").startswith("“a big red star")
    make(page, "a blue car", seed=1)  # a second prompt, without fetching again
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').startsWith('“a blue car')")
    wait_for_clip(page)


def test_a_clip_stands_still_where_motion_is_not_wanted_until_it_is_played(browser, address):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    page.get_by_role("status").filter(has_text="MB").wait_for()
    make(page, "a red star")
    wait_for_clip(page)
    pictures = """async () => {
        const seen = new Set();
        for (let i = 0; i < 20; i++) {
            seen.add(document.querySelector("canvas").toDataURL());
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
        return seen.size;
    }"""
    assert page.evaluate(pictures) == 1
    page.get_by_role("button", name="Play").click()
    assert page.evaluate(pictures) > 3
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate(pictures) == 1
    context.close()


def test_the_keyboard_keeps_its_place(page):
    make(page, "a red star")
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    wait_for_clip(page)
    assert page.evaluate("document.activeElement.textContent") == "Make the clip"


def test_a_prompt_that_is_too_long_does_not_throw_the_model_away(page):
    make(page, "a red star")
    wait_for_clip(page)
    make(page, "星" * 60)
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('at most 48')")
    assert len(page.workers) == 1


def test_unknown_words_are_named_and_an_empty_prompt_is_refused(page):
    box = page.get_by_label("Prompt, in English or Chinese")
    box.fill("a turquoise pupy")
    assert "pupy (puppy" in page.locator(".t2v-live-unknown").text_content()
    page.get_by_role("button", name="Make the clip").click()
    wait_for_clip(page)
    box.fill("xyzzy")
    page.get_by_role("button", name="Make the clip").click()
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('No word')")
    box.fill(" !? ")
    page.get_by_role("button", name="Make the clip").click()
    page.wait_for_function("document.querySelector('[role=status]').textContent.startsWith('Write what')")


def test_chips_write_a_prompt_in_either_language(page):
    page.get_by_text("Words to choose from").click()
    box = page.get_by_label("Prompt, in English or Chinese")
    box.fill("")
    for word in ("a red", "star", "jumps", "at night"):
        page.get_by_role("button", name=word, exact=True).click()
    assert box.input_value() == "a red star jumps at night"
    page.get_by_role("button", name="中文").press("Enter")
    box.fill("")
    for word in ("一只红色的", "小狗", "在公园里", "玩耍"):
        page.get_by_role("button", name=word, exact=True).click()
    assert box.input_value() == "一只红色的小狗在公园里玩耍"


def test_a_button_says_what_a_prompt_leaves_open(page):
    box, rest = (
        page.get_by_label("Prompt, in English or Chinese"),
        page.get_by_role("button", name="Say what is left open"),
    )
    box.fill("a car jumps")
    rest.click()
    longer = box.input_value()
    assert parse_prompt(longer).keys() == {"subject", "colour", "size", "action", "place"}
    rest.press("Enter")
    assert box.input_value() == longer
    assert page.get_by_text("Nothing can be added").is_visible()
    box.fill("a bird")
    assert page.get_by_text("Nothing can be added").count() == 0


def test_stop_ends_the_making_and_the_next_clip_begins_anew(page):
    make(page, "a red car", steps=40)
    page.wait_for_function(
        "document.querySelector('canvas').getAttribute('aria-label').includes('step')", timeout=60_000
    )
    page.get_by_role("button", name="Stop").click()
    page.wait_for_function("document.querySelector('[role=status]').textContent === 'Stopped.'")
    make(page, "a red car", steps=5)
    wait_for_clip(page)


def test_stop_counts_while_the_page_is_still_loading(browser, address):
    context = browser.new_context()
    page, held = context.new_page(), []
    page.route("**/manifest.json", lambda route: held.append(route))
    page.goto(address)
    page.get_by_role("button", name="Make the clip").click()
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("status").text_content() == "Stopped." and held
    for route in held:
        route.continue_()
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('MB')")
    assert page.get_by_role("button", name="Make the clip").is_enabled() and page.workers == []
    context.close()


def test_a_link_holds_prompt_seed_and_settings(page, browser, address):
    page.get_by_label("Prompt, in English or Chinese").fill("一颗红色的星星")
    page.get_by_label("Seed").fill("12")
    page.get_by_label("Guidance").fill("4")
    link = page.get_by_role("link", name="Link to this prompt and its settings").get_attribute("href")
    other = browser.new_page()
    other.goto(address + link)
    other.wait_for_function("document.querySelector('[role=status]')?.textContent.includes('MB')")
    assert other.get_by_label("Prompt, in English or Chinese").input_value() == "一颗红色的星星"
    assert other.get_by_label("Seed").input_value() == "12"
    assert other.get_by_label("Guidance").input_value() == "4"
    other.close()


def test_guidance_is_what_the_weights_ask_for_until_one_says_otherwise(page, tiny_pipeline):
    own, box = f"{tiny_pipeline.config.guidance_scale:g}", page.get_by_label("Guidance")
    assert box.input_value() == own
    link = page.get_by_role("link", name="Link to this prompt and its settings")
    box.fill("")
    assert f"guidance={own}" in link.get_attribute("href")
    box.fill("0")
    assert "guidance=0" in link.get_attribute("href")


def test_once_fetched_it_works_without_a_connection_and_from_the_store(page):
    make(page, "a red star")
    wait_for_clip(page)
    fetched = []
    page.on("request", lambda request: fetched.append(request.url))
    page.reload()
    page.wait_for_function("document.querySelector('[role=status]')?.textContent.includes('MB')")
    make(page, "a red star")
    wait_for_clip(page)
    assert not [url for url in fetched if ".onnx" in url]
    page.context.set_offline(True)
    make(page, "a blue star", seed=2)
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').startsWith('“a blue star')")
    wait_for_clip(page)


def test_a_damaged_file_is_named_and_the_page_stays_alive(page, folder):
    model = folder / "sub" / "path" / "_live" / "model"
    path = model / "video.onnx"
    content = path.read_bytes()
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["files"]["video.onnx"]["sha256"] == hashlib.sha256(content).hexdigest()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        make(page, "a red star")
        page.wait_for_function(
            "document.querySelector('[role=status]').textContent.includes('video.onnx is damaged')", timeout=60_000
        )
    finally:
        path.write_bytes(content)
    make(page, "a red star")
    wait_for_clip(page)
