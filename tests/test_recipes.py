"""Recipes: what they add to training keeps the splits."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from t2vlearn.stages import TrainConfig
from t2vlearn.world import Actor, Scene
from t2vlearn.world.scenes import COLOURS, SUBJECTS, is_heldout

RECIPES = Path(__file__).parents[1] / "benchmarks" / "recipes"


@pytest.fixture(scope="module")
def circles():
    spec = importlib.util.spec_from_file_location("circles", RECIPES / "circles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pair_that_circles_goes_either_way(circles):
    rng = np.random.default_rng(0)
    for subject in SUBJECTS:
        for colour in COLOURS:
            actor = Actor(subject, colour, "big", "jumps")
            turned = [circles.Circles._circling(Scene((actor,), "park"), rng).actors[0] for _ in range(100)]
            assert {one.subject for one in turned} == {subject}
            whole = not any(is_heldout(subject, colour, way) for way in circles.WAYS)
            assert not whole or {one.colour for one in turned} == {colour}
            for seen in {one.colour for one in turned}:
                assert not any(is_heldout(subject, seen, way) for way in circles.WAYS)
                assert {one.action for one in turned if one.colour == seen} == set(circles.WAYS)


def test_no_clip_of_the_recipe_is_of_a_held_out_combination_and_a_coin_says_which_way(circles):
    for part in circles.PARTS:
        source = circles.Circles(TrainConfig(**part.changes), part.seed, part.share)
        rng = np.random.default_rng(part.seed)
        scenes = [scene for step in range(60) for _, scene in source.draw(step, 16, 64, rng)]
        actors = [actor for scene in scenes for actor in scene.actors]
        assert not any(is_heldout(actor.subject, actor.colour, actor.action) for actor in actors)
        first = [scene.actors[0] for scene in scenes if scene.actors[0].action in circles.WAYS]
        # Chosen ones, and a fifth of the others, which circle anyway.
        assert len(first) / len(scenes) == pytest.approx(part.share + 0.2 * (1 - part.share), abs=0.07)
        assert np.mean([actor.action == circles.WAYS[0] for actor in first]) == pytest.approx(0.5, abs=0.1)
        for actor in first:
            assert not any(is_heldout(actor.subject, actor.colour, way) for way in circles.WAYS)
