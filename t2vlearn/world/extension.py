"""Prompt extension: saying what a prompt leaves open, before it is drawn.

Large systems have a language model rewrite a short prompt into a long one, as training wrote them (Betker et al. 2023,
"Improving Image Generation with Better Captions", section 3.5). This world's sentences can be read and written without one.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from t2vlearn.world.captions import parse_prompt, write_caption
from t2vlearn.world.lexicon import LANGUAGES
from t2vlearn.world.scenes import ATTRIBUTES, SECOND, Actor, Scene

TRIES = 100  # draws of what is left open, and of sentences


def extend_prompt(prompt: str, seed: int = 0) -> str:
    """A caption that names all that the prompt names (`parse_prompt`), and all that it leaves open, drawn by (prompt, seed).

    "a car jumps" becomes, with seed 0, "in a park, a large blue toy car jumps". A caption has the prompt's language and
    training's patterns; words that name nothing are dropped. What cannot be extended is returned as it is: a prompt without a
    subject, one that names everything, or one that no scene fits, such as a small car that grows.
    """
    named = parse_prompt(prompt)
    suffixes = [suffix for suffix in ("", SECOND) if f"subject{suffix}" in named]
    rng = np.random.default_rng((seed, int.from_bytes(blake2b(prompt.encode(), digest_size=8).digest(), "big")))
    language = "zh" if any("\u3400" <= character <= "\u9fff" for character in prompt) else "en"

    def value(name: str) -> str:
        return named.get(name) or str(rng.choice(ATTRIBUTES[name.removesuffix(SECOND)]))

    for _ in range(TRIES if suffixes else 0):
        actors = [Actor(*(value(name + s) for name in ("subject", "colour", "size", "action"))) for s in suffixes]
        scene = Scene(tuple(actors), value("place"))
        if named.items() < scene.attributes.items():
            captions = (write_caption(scene, language, int(rng.integers(2**31))) for _ in range(TRIES))
            return next((c for c in captions if c.named == scene.attributes.keys()), prompt)
    return prompt


def plainest(language: str) -> dict[str, dict[str, str]]:
    """What a full caption can be put together from where there is no Python (`live/words.js`), in one way only.

    For each attribute value -> a phrase that suits all the others, and "pattern", the sentence for "1" and for "2" actors,
    whose slots are attributes. "mw" is the measure word of a subject's Chinese noun.
    """
    words = LANGUAGES[language]
    nouns = {  # none that makes a big one "大大的小狗"
        subject: next(noun for noun in every if noun[1] != "小") for subject, every in words.subjects.items()
    }
    chinese = language == "zh"
    return {
        "pattern": {str(n): words.patterns[n, "full"][0].text.replace("{jumps", "{action") for n in (1, 2)},
        "mw": {subject: noun[0] for subject, noun in nouns.items() if chinese},
        "subject": {subject: noun[chinese:] for subject, noun in nouns.items()},
        "colour": {colour: phrases[0] for colour, phrases in words.colours.items()},
        "size": {size: phrases[0] for size, phrases in words.sizes.items()},
        # What a circle does, everyone does.
        "action": {action: forms[0][0] for (action, subject), forms in words.actions.items() if subject == "circle"},
        "place": {place: phrases[0] for place, phrases in words.places.items()},
    }
