"""An extended prompt names everything, keeps what was named, and is left alone where nothing can be added."""

import pytest

from t2vlearn.world import extend_prompt, parse_prompt, sample_scenes
from t2vlearn.world.captions import vocabulary
from t2vlearn.world.scenes import SECOND


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("patterns", ["train", "unseen"])
@pytest.mark.parametrize("split", ["train", "two_actors"])
def test_all_that_was_named_stays_and_all_the_rest_is_added(split, patterns, language):
    lengthened = 0
    for i, scene in enumerate(sample_scenes(100, split, 5)):
        prompt = str(scene.caption(language, i, patterns))
        longer = extend_prompt(prompt, i)
        asked, said = parse_prompt(prompt), parse_prompt(longer)
        assert asked.items() <= said.items()
        for suffix in ("", SECOND)[: len(scene.actors)]:
            sized = said[f"action{suffix}"] not in ("grows", "shrinks")
            wanted = {f"{name}{suffix}" for name in ("subject", "colour", "action", *["size"] * sized)} | {"place"}
            assert wanted <= said.keys()
        assert any("\u3400" <= c <= "\u9fff" for c in longer) == (language == "zh")
        assert extend_prompt(longer, i + 1) == longer
        lengthened += longer != prompt
    assert lengthened > (20 if patterns == "train" else -1)


def test_what_is_left_open_is_drawn_evenly_by_the_seed():
    drawn = [parse_prompt(extend_prompt("a car jumps in the park", seed)) for seed in range(600)]
    colours = [found["colour"] for found in drawn]
    assert {colours.count(c) for c in set(colours)} <= set(range(60, 141)) and len(set(colours)) == 6  # 100 ± 4.4 sigma
    assert 240 < sum(found["size"] == "big" for found in drawn) < 360
    assert extend_prompt("a car jumps", 3) == extend_prompt("a car jumps", 3)


def test_words_are_those_that_the_model_was_taught():
    known = set(vocabulary())
    for seed in range(50):
        assert set(extend_prompt("a bird and a kitten", seed).replace(",", "").replace("-", " ").split()) <= known


@pytest.mark.parametrize("prompt", ["", "hello", "at night", "a small car grows", "a big red star jumps at night"])
def test_what_cannot_be_extended_is_left_as_it_is(prompt):
    assert extend_prompt(prompt) == prompt
