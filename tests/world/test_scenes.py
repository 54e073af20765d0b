"""Scenes: what they name, which of them are held out, and that their lists are the same everywhere."""

from itertools import product

import pytest

from t2vlearn.world.scenes import (
    ACTIONS,
    ATTRIBUTES,
    COLOURS,
    PLACES,
    SIZES,
    SPLITS,
    SUBJECTS,
    Actor,
    Scene,
    is_heldout,
    sample_scene,
    sample_scenes,
)

STAR = Actor("star", "red", "small", "jumps")
CAR = Actor("car", "blue", "big", "shrinks")


def combination(actor):
    return actor.subject, actor.colour, actor.action


def test_attributes_name_every_actor_but_no_size_that_changes():
    assert Scene((STAR, CAR), "snow").attributes == {
        "place": "snow",
        "subject": "star",
        "colour": "red",
        "size": "small",
        "action": "jumps",
        "subject_2": "car",
        "colour_2": "blue",
        "action_2": "shrinks",
    }
    assert set(Scene((STAR,), "park").attributes) == set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("actors", "place", "message"),
    [
        ((), "park", "one or two actors, not 0"),
        ((STAR, CAR, Actor("bird", "red", "big", "jumps")), "park", "one or two actors, not 3"),
        ((STAR, Actor("star", "blue", "big", "jumps")), "park", "different subjects"),
        ((STAR,), "moon", "unknown place 'moon': choose from park, beach"),
        ((Actor("dog", "red", "big", "jumps"),), "park", "unknown subject 'dog': choose from circle"),
        ((Actor("star", "pink", "big", "jumps"),), "park", "unknown colour 'pink': choose from red"),
        ((Actor("star", "red", "huge", "jumps"),), "park", "unknown size 'huge': choose from small, big"),
        ((STAR, Actor("car", "red", "big", "jumps"),) * 2, "park", "not 4"),
        ((Actor("star", "red", "big", "sleeps"),), "park", "unknown action 'sleeps': choose from moves left"),
    ],
)  # fmt: skip
def test_impossible_scenes_are_refused(actors, place, message):
    with pytest.raises(ValueError, match=message):
        Scene(actors, place)


def test_a_tenth_of_all_combinations_is_held_out_and_training_keeps_every_pair():
    combinations = list(product(SUBJECTS, COLOURS, ACTIONS))
    train = [c for c in combinations if not is_heldout(*c)]
    assert len(combinations) - len(train) == len(combinations) // 10
    for first, second in ((0, 1), (0, 2), (1, 2)):
        third = 3 - first - second
        for pair in {(c[first], c[second]) for c in combinations}:
            kept = {c[third] for c in train if (c[first], c[second]) == pair}
            # Each pair is trained with all but one or two of the third values.
            assert len(kept) >= len({c[third] for c in combinations}) - 2


@pytest.mark.parametrize("split", SPLITS)
def test_splits_hold_what_they_promise(split):
    scenes = sample_scenes(400, split)
    assert {is_heldout(*combination(actor)) for scene in scenes for actor in scene.actors} == {split == "heldout"}
    assert {len(scene.actors) for scene in scenes} == {2 if split == "two_actors" else 1}
    actors = [actor for scene in scenes for actor in scene.actors]
    for name, values in (("subject", SUBJECTS), ("colour", COLOURS), ("size", SIZES), ("action", ACTIONS)):
        counts = [sum(getattr(actor, name) == value for actor in actors) for value in values]
        assert min(counts) > len(actors) / len(values) / 3, (name, counts)
    assert {scene.place for scene in scenes} == set(PLACES)


@pytest.mark.parametrize("split", SPLITS)
def test_scene_number_i_depends_on_nothing_else(split):
    scenes = sample_scenes(40, split, seed=5)
    assert sample_scenes(10, split, seed=5) == scenes[:10]
    assert sample_scenes(10, split, seed=5, start=30) == scenes[30:]
    assert sample_scene(7, split, seed=5) == scenes[7]
    assert sample_scenes(40, split, seed=6) != scenes
    assert sample_scenes(0, split) == []


def test_scenes_are_the_same_on_every_machine():
    assert sample_scene(0) == Scene((Actor("triangle", "red", "small", "moves left"),), "park")
    assert sample_scene(0, "heldout") == Scene((Actor("bird", "red", "small", "plays with a ball"),), "plain")
    assert sample_scene(0, "two_actors") == Scene(
        (Actor("car", "red", "small", "circles clockwise"), Actor("triangle", "blue", "big", "moves right")), "night"
    )


def test_values_are_plain_strings():
    """numpy's own string type would leak into JSON, file names and dictionary look-ups."""
    assert {type(value) for scene in sample_scenes(5, "two_actors") for value in scene.attributes.values()} == {str}


def test_an_unknown_split_names_the_choices():
    with pytest.raises(ValueError, match="unknown split 'test': choose from train, heldout, two_actors"):
        sample_scenes(1, "test")
