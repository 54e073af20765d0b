"""For any prompt, scene, config and argument: the promise is kept, or one line says why not."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from t2vlearn import cli
from t2vlearn.cli.generate import _slug
from t2vlearn.errors import UserError
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.world import ACTIONS, ATTRIBUTES, COLOURS, PLACES, SIZES, SUBJECTS, Actor, Scene, parse_prompt
from t2vlearn.world.captions import PATTERNS, names, vocabulary
from t2vlearn.world.scenes import SECOND

actors = st.builds(
    Actor, *(st.sampled_from(values) for values in (SUBJECTS, COLOURS, SIZES, ACTIONS))
)  # any combination, held out or not
scenes = st.builds(
    Scene,
    st.lists(actors, min_size=1, max_size=2, unique_by=lambda actor: actor.subject).map(tuple),
    st.sampled_from(PLACES),
)
texts = st.text(st.characters(), max_size=60)  # with lone surrogates, as a terminal's stray bytes arrive
prompts = st.one_of(texts, st.lists(st.sampled_from([*vocabulary(), *names()]) | texts, max_size=12).map(" ".join))
#: torch.set_flush_denormal (conftest.py) leaves no tiny numbers to try.
floats = st.floats(allow_subnormal=False)
SMALL = {"size": 16, "dim": 8, "depth": 1, "num_heads": 1, "text_depth": 1, "codec_width": 4, "latent_channels": 2}


@given(scenes, st.sampled_from(["en", "zh"]), st.integers(0, 2**40), st.sampled_from(PATTERNS))
def test_a_caption_says_what_it_names_of_its_scene_and_nothing_else(scene, language, seed, patterns):
    caption = scene.caption(language, seed, patterns)
    assert parse_prompt(caption) == {key: scene.attributes[key] for key in caption.named}


@given(prompts)
def test_any_text_is_read_as_values_of_attributes(text):
    named = parse_prompt(text)
    assert all(value in ATTRIBUTES[key.removesuffix(SECOND)] for key, value in named.items())
    assert parse_prompt(text.upper() if text.isascii() else text) == named


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:unknown words say nothing")
@given(prompts)
def test_any_prompt_becomes_a_clip_or_is_refused_in_a_line(tiny_pipeline, text):
    try:
        frames = tiny_pipeline(text, num_inference_steps=1).frames
    except UserError as error:
        assert re.match("the prompt is empty|the prompt has|no word of the prompt is known", str(error))
    else:
        assert frames.shape == (1, 16, 32, 32, 3)


@given(prompts)
def test_any_prompt_gives_a_name_that_a_file_can_have(text):
    name = _slug(text) + "-keyframes.png"
    assert Path(name).name == name and len(os.fsencode(name)) < 255 and "\0" not in name


# ------------------------------------------------------------------ configs

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 40) | floats | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from([*vars(PipelineConfig()), "info", "sha256", "format", "nonsense"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weights folder whose config the tests change."""
    return TextToVideoPipeline(**SMALL).save_pretrained(tmp_path_factory.mktemp("weights"))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(fields, values, min_size=1, max_size=2))
def test_any_change_of_a_config_is_a_pipeline_or_is_refused_in_a_line(folder, changes):
    path = folder / "config.json"
    good = path.read_text()
    path.write_text(json.dumps(json.loads(good) | changes))
    try:
        pipe = TextToVideoPipeline.from_pretrained(folder)
        assert isinstance(pipe.info, dict)
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    finally:
        path.write_text(good)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.integers(1, 300).map(lambda n: b"[" * 1000 * n) | st.just(b"1" * 5000))
def test_a_config_of_any_bytes_is_refused_in_a_line(folder, content):
    path = folder / "config.json"
    good = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(UserError, match=re.escape(str(folder))):
            TextToVideoPipeline.from_pretrained(folder)
    finally:
        path.write_bytes(good)


# ------------------------------------------------------------------ arguments

#: Every command is given weights or a folder that it cannot use, before anything else: so none gets to work.
COMMANDS = (
    ["generate", "--weights", "nowhere"],
    ["story", "--weights", "nowhere"],
    ["train", "--out", "file/run"],
    ["evaluate", "nowhere"],
    ["info", "nowhere"],
    ["export", "onnx", "--from", "nowhere"],
)

words = st.one_of(
    st.text(st.characters(exclude_characters="\0/"), max_size=12),  # a command line has no NUL; "a/b" asks the Hub
    st.integers().map(str),
    floats.map(str),
    st.sampled_from(
        ["a puppy", "--seed", "--steps", "--guidance", "--negative", "-o", "--image", "--split", "--samples"]
    ),
    st.sampled_from(
        ["--json", "--preset", "--minutes", "--processes", "--accumulate", "--tracker", "--resume", "--", "-"]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(COMMANDS), st.lists(words, max_size=6))
def test_any_arguments_are_answered_in_a_line(tmp_path, monkeypatch, command, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.app, [*command, *arguments])
    assert result.exit_code in (0, 2), (result.output, result.exception)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert os.listdir(tmp_path) == ["file"]
