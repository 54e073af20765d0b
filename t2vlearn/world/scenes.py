"""Scenes: what a clip of the toy world shows, as a few words that can be checked.

A `Scene` is a place with one or two actors; an `Actor` is a subject with a colour, a size and an action.
Everything else (where it starts, how fast it goes, where the tree stands) is left to the renderer's seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBJECTS = ("circle", "square", "triangle", "star", "heart", "puppy", "kitten", "bird", "car")
COLOURS = ("red", "yellow", "green", "blue", "purple", "brown")
SIZES = ("small", "big")
ACTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "circles clockwise",
    "circles counter-clockwise",
    "jumps",
    "grows",
    "shrinks",
    "plays with a ball",
)
PLACES = ("park", "beach", "night", "snow", "plain")

#: Each attribute of a one-actor scene and the values it can take.
ATTRIBUTES = {"subject": SUBJECTS, "colour": COLOURS, "size": SIZES, "action": ACTIONS, "place": PLACES}
#: Suffix of the second actor's attributes in `Scene.attributes`.
SECOND = "_2"

SPLITS = ("train", "heldout", "two_actors")


@dataclass(frozen=True)
class Actor:
    """A thing that moves: one value of each of `SUBJECTS`, `COLOURS`, `SIZES` and `ACTIONS`."""

    subject: str
    colour: str
    size: str
    action: str

    @property
    def named_size(self) -> str | None:
        """`size`, or None where the action changes it ("grows", "shrinks"): then it is neither named nor judged."""
        return None if self.action in ("grows", "shrinks") else self.size


@dataclass(frozen=True)
class Scene:
    """A place and one or two actors. Two actors are always of different subjects, so that a caption can tell them apart.

    Raises:
        ValueError: for a value outside the world's vocabulary, or actors that a caption could not tell apart.
    """

    actors: tuple[Actor, ...]
    place: str

    def __post_init__(self):
        if not 1 <= len(self.actors) <= 2:
            raise ValueError(f"a scene has one or two actors, not {len(self.actors)}")
        if len({actor.subject for actor in self.actors}) < len(self.actors):
            raise ValueError("two actors of one scene need different subjects")
        values = [("place", self.place)]
        values += [
            (name, getattr(actor, name)) for actor in self.actors for name in ("subject", "colour", "size", "action")
        ]
        for name, value in values:
            if value not in ATTRIBUTES[name]:
                raise ValueError(f"unknown {name} {value!r}: choose from {', '.join(ATTRIBUTES[name])}")

    @property
    def attributes(self) -> dict[str, str]:
        """What a viewer could name: "subject", "colour", "size", "action", "place", and the same with "_2" for a second actor.

        "size" is missing where the action changes it.
        """
        named = {"place": self.place}
        for actor, suffix in zip(self.actors, ("", SECOND)):
            named |= {
                f"subject{suffix}": actor.subject,
                f"colour{suffix}": actor.colour,
                f"action{suffix}": actor.action,
            }
            if actor.named_size:
                named[f"size{suffix}"] = actor.named_size
        return named

    def caption(self, language: str = "en", seed: int = 0, patterns: str = "train"):
        """A sentence about this scene, drawn by `seed` from the patterns and synonyms of `language` ("en" or "zh").

        Returns a `captions.Caption`: a string that also knows which attributes it names (`.named`).
        `patterns="unseen"` draws from the sentence patterns that are kept for evaluation.
        """
        from t2vlearn.world.captions import write_caption

        return write_caption(self, language=language, seed=seed, patterns=patterns)


def is_heldout(subject: str, colour: str, action: str) -> bool:
    """True for the tenth of all (subject, colour, action) combinations that training never shows.

    (s + 3c + 7a) mod 10 = 0 on their indices: each pair of values still occurs in training with most third values.
    """
    s, c, a = SUBJECTS.index(subject), COLOURS.index(colour), ACTIONS.index(action)
    return (s + 3 * c + 7 * a) % 10 == 0


def _one_of(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[rng.integers(len(values))]  # what rng.choice(values) draws, in a fifth of its time


def _sample_actor(rng: np.random.Generator, heldout: bool) -> Actor:
    while True:
        subject, colour, size, action = (_one_of(values, rng) for values in (SUBJECTS, COLOURS, SIZES, ACTIONS))
        if is_heldout(subject, colour, action) == heldout:
            return Actor(subject, colour, size, action)


def sample_scene(index: int, split: str = "train", seed: int = 0) -> Scene:
    """Scene number `index` of a split's endless list; it depends on nothing but (seed, split, index).

    Splits: "train" and "heldout" hold one actor, "two_actors" two, each from the training combinations.

    Raises:
        ValueError: for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose from {', '.join(SPLITS)}")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    actors = [_sample_actor(rng, heldout=split == "heldout")]
    while split == "two_actors" and len(actors) < 2:
        other = _sample_actor(rng, heldout=False)
        if other.subject != actors[0].subject:
            actors.append(other)
    return Scene(tuple(actors), _one_of(PLACES, rng))


def sample_scenes(n: int, split: str = "train", seed: int = 0, start: int = 0) -> list[Scene]:
    """Scenes number `start` to `start + n - 1` of a split. The same (seed, index) is the same scene on every machine."""
    return [sample_scene(start + i, split, seed) for i in range(n)]
