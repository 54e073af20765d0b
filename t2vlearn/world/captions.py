"""Captions: sentences about a scene in English and Chinese, and the way back from a sentence to what it names."""

from __future__ import annotations

import re
from hashlib import blake2b

from t2vlearn.world.lexicon import DETERMINERS, LANGUAGES, split_words
from t2vlearn.world.scenes import SECOND, Scene

PATTERNS = ("train", "unseen")

_KEYS = LANGUAGES["en"].keys | LANGUAGES["zh"].keys | dict.fromkeys(DETERMINERS, ("", ""))
_READER = re.compile(rf"(?<!\S)(?:{'|'.join(sorted(_KEYS, key=len, reverse=True))})(?!\S)")


class Caption(str):
    """A sentence about a scene; `named` holds the keys of `Scene.attributes` that the sentence names."""

    named: frozenset[str] = frozenset()


def write_caption(scene: Scene, language: str = "en", seed: int = 0, patterns: str = "train") -> Caption:
    """A sentence about `scene`, the same for the same arguments on every machine.

    Args:
        scene: every actor's subject is named; half of the training captions name all the rest too.
        language: "en" or "zh".
        seed: which of the scene's many captions.
        patterns: "train", or "unseen" for the sentence patterns that are kept for evaluation.

    Raises:
        ValueError: for another language or other patterns.
    """
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: choose from {', '.join(LANGUAGES)}")
    if patterns not in PATTERNS:
        raise ValueError(f"unknown patterns {patterns!r}: choose from {', '.join(PATTERNS)}")
    words = LANGUAGES[language]
    facts = [language, patterns, str(int(seed)), scene.place]
    for actor in scene.actors:
        facts += [actor.subject, actor.colour, actor.size, actor.action]
    # Each draw is a digit of one large number: quicker than a generator, and no release of Python can change it.
    number = int.from_bytes(blake2b("/".join(facts).encode(), digest_size=16).digest(), "big")

    def draw(options):
        nonlocal number
        number, index = divmod(number, len(options))
        return options[index]

    pattern = draw(words.patterns[len(scene.actors), draw(("full", "partial")) if patterns == "train" else "unseen"])
    slots = {"place": draw(words.places[scene.place])}
    for actor, suffix, end in zip(scene.actors, ("", SECOND), ("", "2")):
        size = actor.named_size if f"size{suffix}" in pattern.named else None
        nouns = words.subjects[actor.subject]
        # "a brown little dog" and "a big little dog" sound wrong, and so does 很大的小狗.
        if language == "en" and (size or f"colour{suffix}" in pattern.named):
            nouns = [noun for noun in nouns if not noun.startswith("little ")]
        elif size == "big":
            nouns = [noun for noun in nouns if noun[1] != "小"]
        noun, colour = draw(nouns), draw(words.colours[actor.colour])
        if language == "zh":
            slots[f"mw{end}"], noun = noun[0], noun[1:]
            # 红色狗狗 and 红色的狗狗 are both said. 红色狗 is not, and a second 的 after the size is heavy.
            colour += "的" if len(noun) == 1 else "" if size else draw(("", "的"))
        slots |= {f"subject{end}": noun, f"colour{end}": colour, f"size{end}": draw(words.sizes[size]) if size else ""}
        slots |= zip((f"jumps{end}", f"jumping{end}", f"jump{end}"), draw(words.actions[actor.action, actor.subject]))
    caption = Caption(" ".join(pattern.text.format_map(slots).split()))
    caption.named = pattern.named.intersection(scene.attributes)
    return caption


def parse_prompt(text: str) -> dict[str, str]:
    """What a prompt in either language names: some of the keys and values of `Scene.attributes`, {} if nothing.

    The longest synonym wins, and the first of two values for one attribute. The first two subjects are the actors, in
    the order of the text. An action belongs to the subject before it, a colour or size to the noun phrase it is in.
    """
    named: dict[str, str] = {}
    subjects: list[str] = []
    adjectives: list[tuple[str, str]] = []
    current = 0
    for attribute, value in [_KEYS[key] for key in _READER.findall(" ".join(split_words(text)))] + [("", "")]:
        if attribute in ("colour", "size"):
            adjectives.append((attribute, value))
            continue
        if attribute == "subject":
            subjects += [value] * (value not in subjects)
            current = subjects.index(value)
        found = [(attribute, value)]
        if attribute in ("subject", ""):
            found, adjectives = found + adjectives, []
        for name, word in found:
            if name == "place" or (name and current < 2):
                named.setdefault(name if name == "place" else name + SECOND * current, word)
    return named


def names() -> dict[str, tuple[str, str]]:
    """Phrase -> (attribute, value): what `parse_prompt` looks for; ("", "") begins a noun phrase."""
    return dict(_KEYS)


def vocabulary() -> list[str]:
    """Every English word and every Chinese character that a caption can contain, sorted."""
    return sorted({word for words in LANGUAGES.values() for text in words.texts for word in split_words(text)})
