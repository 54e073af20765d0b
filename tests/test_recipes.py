"""Recipes: what they add to training keeps the splits."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from t2vlearn.circles import WAYS, Circles
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.recipe import TrainConfig
from t2vlearn.text import TextEncoder
from t2vlearn.world import ATTRIBUTES, Actor, find_paths, parse_prompt
from t2vlearn.world.scenes import COLOURS, SUBJECTS, is_heldout

RECIPES = Path(__file__).parents[1] / "benchmarks" / "recipes"


@pytest.fixture(scope="module")
def recipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPES)
        yield importlib.import_module


@pytest.fixture(scope="module")
def circles(recipe):
    return recipe("circles")


@pytest.fixture(scope="module")
def pairs(recipe):
    return recipe("pairs")


def test_the_bundled_weights_ask_for_the_recipes_guidance(recipe):
    assert TextToVideoPipeline.from_pretrained().config.guidance_scale == recipe("bundled").GUIDANCE


def test_every_pair_that_circles_goes_either_way(circles):
    rng = np.random.default_rng(0)
    for subject in SUBJECTS:
        for colour in COLOURS:
            actor = Actor(subject, colour, "big", "jumps")
            turned = [Circles._circling(actor, rng) for _ in range(100)]
            assert {one.subject for one in turned} == {subject}
            whole = not any(is_heldout(subject, colour, way) for way in WAYS)
            assert not whole or {one.colour for one in turned} == {colour}
            for seen in {one.colour for one in turned}:
                assert not any(is_heldout(subject, seen, way) for way in WAYS)
                assert {one.action for one in turned if one.colour == seen} == set(WAYS)


def test_no_clip_of_the_recipe_is_of_a_held_out_combination_and_a_coin_says_which_way(circles):
    for part in circles.PARTS:
        source = Circles(TrainConfig(**part.changes), part.seed, part.share)
        rng = np.random.default_rng(part.seed)
        scenes = [scene for step in range(60) for _, scene in source.draw(step, 16, 64, rng)]
        actors = [actor for scene in scenes for actor in scene.actors]
        assert not any(is_heldout(actor.subject, actor.colour, actor.action) for actor in actors)
        first = [scene.actors[0] for scene in scenes if scene.actors[0].action in WAYS]
        # Chosen ones, and a fifth of the others, which circle anyway.
        assert len(first) / len(scenes) == pytest.approx(part.share + 0.2 * (1 - part.share), abs=0.07)
        assert np.mean([actor.action == WAYS[0] for actor in first]) == pytest.approx(0.5, abs=0.1)
        for actor in first:
            assert not any(is_heldout(actor.subject, actor.colour, way) for way in WAYS)


def test_pairs_are_never_held_out_stand_as_they_should_and_are_called_by_their_colours(pairs):
    for part in pairs.PARTS:
        source = pairs.Pairs(TrainConfig(**part.changes), part.seed, part.circles)
        source.apart, source.named = part.apart, 1.0
        rng = np.random.default_rng(part.seed)
        clips = [clip for step in range(12) for clip in source.draw(step, 16, 64, rng)]
        actors = [actor for _, scene in clips for actor in scene.actors]
        assert not any(is_heldout(actor.subject, actor.colour, actor.action) for actor in actors)
        two = [clip for clip in clips if len(clip[1].actors) == 2]
        assert len(two) / len(clips) == pytest.approx(part.changes["two_actor_share"], abs=0.12)
        paths = find_paths([scene for _, scene in two], seed=part.seed)
        beside = [bool((one.x < 0.53).all() and (other.x > 0.47).all()) for one, other in paths]
        assert all(beside) if part.apart else 0 < sum(beside) < len(two)
        assert all({"colour", "colour_2"} <= parse_prompt(source.caption(clip, rng)).keys() for clip in two)


@pytest.mark.parametrize("by_order", [False, True])
def test_the_questions_to_the_words_have_the_answers_that_a_reader_of_the_caption_finds(pairs, by_order):
    encoder = TextEncoder(dim=16, depth=1, num_heads=2)
    asked = pairs.questions(encoder, 40, seed=0, step=3, by_order=by_order)
    found = 0
    for i, ids in enumerate(asked.ids):
        named = parse_prompt(" ".join(encoder.tokenizer.id_to_token(int(n)) for n in ids[asked.mask[i]]))
        for number, query in enumerate(asked.asked[i].tolist()):
            suffix = ("", "_2")[number % 2]
            assert query == (SUBJECTS.index(named["subject" + suffix]) if number < 2 else 9 + number % 2)
            for name in ("subject", "colour", "size", "action"):
                answer = int(asked.right[name][i, number])
                assert answer == (ATTRIBUTES[name].index(named[name + suffix]) if name + suffix in named else -100)
                found += answer >= 0
            assert int(asked.right["order"][i, number]) == (number % 2 if by_order else -100)
    assert found > 100


def test_the_reader_is_attention_with_one_query_a_question(pairs):
    torch.manual_seed(0)
    reader, tokens = pairs.Reader(16), torch.randn(2, 5, 16)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    answers = reader(tokens, mask, torch.tensor([[0, 9], [3, 10]]))
    query, key, value = reader.query.weight[3], reader.key(tokens[1, :3]), reader.value(tokens[1, :3])
    weights = torch.softmax(torch.stack([query @ k / 4 for k in key]), 0)
    torch.testing.assert_close(answers["colour"][1, 0], reader.answers["colour"](weights @ value))


def test_what_the_questions_teach_stays_and_who_asked_goes(pairs, tiny, monkeypatch):
    monkeypatch.setattr(pairs, "WORDS_ALONE", 1)
    monkeypatch.setattr(pairs, "PARTS", tuple(part._replace(steps=1) for part in pairs.PARTS[::3]))
    moved = _moved(tiny, pairs.learn_whose)
    assert any(name.startswith("text_encoder.") for name in moved)
    assert all(name.startswith(("text_encoder.", "visual_encoder.denoiser.")) for name in moved)
    assert not any(block._forward_hooks for block in tiny.visual_encoder.denoiser.blocks)


def test_the_turns_of_two_move_words_and_key_frames_alone(pairs, tiny, monkeypatch):
    monkeypatch.setattr(pairs, "TURNS", tuple(part._replace(steps=2) for part in pairs.TURNS))
    moved = _moved(tiny, pairs.learn_turns)
    assert moved and all(name.startswith(("text_encoder.", "visual_encoder.denoiser.")) for name in moved)


@pytest.mark.parametrize("what, steps", [("learn_between", "BETWEEN_STEPS"), ("learn_between_again", "AGAIN_STEPS")])
def test_between_the_key_frames_the_video_generator_alone_learns(pairs, tiny, monkeypatch, what, steps):
    monkeypatch.setattr(pairs, steps, 2)
    moved = _moved(tiny, getattr(pairs, what))
    assert moved and all(name.startswith("video_generator.denoiser.") for name in moved)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return TextToVideoPipeline(size=32, dim=16, depth=1, num_heads=2, text_depth=1, width=8, convs=1)


def _moved(pipe, learn):
    """Names of the tensors that `learn` changes; it adds none, and leaves the noise levels as they were."""
    before, mean = {name: value.clone() for name, value in pipe.state_dict().items()}, pipe.diffusion.mean
    learn(pipe)
    after = pipe.state_dict()
    assert after.keys() == before.keys() and pipe.diffusion.mean == mean
    return {name for name, value in after.items() if not torch.equal(value, before[name])}
