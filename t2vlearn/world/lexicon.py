"""The words and sentence patterns of captions, in English and Chinese.

One lexicon serves both directions: `captions.write_caption` draws a sentence pattern and a synonym for each of its slots,
`captions.parse_prompt` looks for the part of each synonym that stands in [brackets]. So "in the [park]" is written in full,
and the word "park" is enough to be understood.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from t2vlearn.world.scenes import COLOURS, SECOND, SUBJECTS

# English. "little" is never a size: a "little dog" is any dog.
_EN_SUBJECTS = {
    "circle": "[circle]|[disc]|[disk]",
    "square": "[square]|[box]",
    "triangle": "[triangle]",
    "star": "[star]",
    "heart": "[heart]",
    "puppy": "[puppy]|[dog]|little [dog]",
    "kitten": "[kitten]|[cat]|little [cat]",
    "bird": "[bird]|little [bird]",
    "car": "[car]|toy [car]|little [car]",
}
_EN_COLOURS = {colour: f"[{colour}]" for colour in COLOURS} | {"purple": "[purple]|[violet]"}
_EN_SIZES = {"small": "[small]|[tiny]", "big": "[big]|[large]"}
# "*" stands for the subject's own way of moving.
_EN_ACTIONS = {
    "moves left": "moves [left]|moves to the [left]|goes [left]|* [left]|* to the [left]",
    "moves right": "moves [right]|moves to the [right]|goes [right]|* [right]|* to the [right]",
    "moves up": "moves [up]|goes [up]|floats [up]|[rises]",
    "moves down": "moves [down]|goes [down]|floats [down]|[sinks]",
    "circles clockwise": "[circles clockwise]|goes round [clockwise]|goes around [clockwise]",
    "circles counter-clockwise": "[circles counter-clockwise]|[circles anticlockwise]|goes round [anticlockwise]"
    "|goes round [counter-clockwise]|goes around [counterclockwise]",
    "jumps": "[jumps]|[hops]|[leaps]",
    "grows": "[grows]|gets [bigger]",
    "shrinks": "[shrinks]|gets [smaller]",
    "plays with a ball": "[plays] with a ball|[plays] with the ball|[plays]",
}
_EN_MOVES = dict.fromkeys(SUBJECTS, "slides") | {"bird": "flies", "car": "drives"}
_EN_MOVES["puppy"] = _EN_MOVES["kitten"] = "runs|walks"
_EN_PLACES = {
    "park": "in the [park]|in a [park]",
    "beach": "on the [beach]|at the [beach]",
    "night": "at [night]|in the [night]|[under the stars]",
    "snow": "in the [snow]|on the [snow]",
    "plain": "on a [plain background]|against a [plain background]|on a [blank page]",
}
_EN_VERBS = """
    circles circling circle, drives driving drive, flies flying fly, floats floating float, gets getting get,
    goes going go, grows growing grow, hops hopping hop, jumps jumping jump, leaps leaping leap, moves moving move,
    plays playing play, rises rising rise, runs running run, shrinks shrinking shrink, sinks sinking sink,
    slides sliding slide, walks walking walk"""

# Chinese. A noun comes behind its measure word. A bare 小 is never a size: 小狗 is any dog.
_ZH_SUBJECTS = {
    "circle": "个[圆]形|个[圆]圈",
    "square": "个[正方形]|个[方形]|个[方块]",
    "triangle": "个[三角]形",
    "star": "颗[星星]|颗[五角星]",
    "heart": "颗[爱心]|个[心形]",
    "puppy": "只[小狗]|只[狗]狗|只[狗]",
    "kitten": "只[小猫]|只[猫]咪|只[猫]",
    "bird": "只[小鸟]|只[鸟]儿|只[鸟]",
    "car": "辆小汽[车]|辆汽[车]|辆[玩具]车",
}
_ZH_COLOURS = dict(zip(COLOURS, ("[红]色", "[黄]色", "[绿]色", "[蓝]色", "[紫]色", "[棕]色|[褐]色")))
_ZH_SIZES = {"small": "[小小]的|[很小]的", "big": "[大大]的|[很大]的|[巨大]的"}
_ZH_ACTIONS = {
    "moves left": "[向左]移动|[往左]移动|[向左]*|[往左]*",
    "moves right": "[向右]移动|[往右]移动|[向右]*|[往右]*",
    "moves up": "[向上]移动|[往上]移动|慢慢[上升]",
    "moves down": "[向下]移动|[往下]移动|慢慢[下降]",
    "circles clockwise": "[顺时针]转圈|[顺时针]绕圈",
    "circles counter-clockwise": "[逆时针]转圈|[逆时针]绕圈",
    "jumps": "[跳]跃|蹦[跳]|[跳]上跳下",
    "grows": "[变大]|慢慢[变大]|变得[越来越大]",
    "shrinks": "[变小]|[缩小]|慢慢[变小]|变得[越来越小]",
    "plays with a ball": "[玩]球|[玩]皮球|[玩]耍",
}
_ZH_MOVES = dict.fromkeys(SUBJECTS, "滑动") | {"puppy": "跑|走", "kitten": "跑|走", "bird": "飞", "car": "开"}
_ZH_PLACES = {
    "park": "[公园]里",
    "beach": "[海滩]上|[沙滩]上|[海边]",
    "night": "[夜]里|[夜]晚|[星空]下",
    "snow": "[雪]地里|[雪]中",
    "plain": "空白的[背景]上|纯色[背景]前",
}

# Sentence patterns for one actor and for two. Training never uses the "unseen" ones. {np} is the noun phrase with size
# and colour; {jumps}, {jumping} and {jump} are the forms of whatever the actor does.
_EN_PATTERNS = {
    (1, "full"): """a {np} {jumps} {place} | the {np} {jumps} {place} | {place}, a {np} {jumps}
        | a {np} is {jumping} {place} | the {np} is {jumping} {place} | {place}, a {np} is {jumping}
        | {np} {jumping} {place} | a {np} that {jumps} {place} | there is a {np} {jumping} {place}
        | a video of a {np} {jumping} {place} | watch a {np} {jump} {place}""",
    (1, "partial"): """a {subject} | a {np} | a {subject} {place} | a {colour} {subject} {place} | a {np} {place}
        | {colour} {subject} {place} | a {subject} {jumps} | a {colour} {subject} {jumps} | a {subject} {jumps} {place}
        | a {colour} {subject} {jumps} {place} | the {subject} is {jumping} {place} | the {np} is {jumping}
        | {place}, a {subject} is {jumping} | there is a {np} {place} | a video of a {colour} {subject} {jumping}""",
    (1, "unseen"): """{place} there is a {np} {jumping} | {jumping} {place} is a {np}
        | watch the {np} that is {jumping} {place} | the {subject} {jumping} {place} is {colour}""",
    (2, "full"): """a {np} {jumps} and a {np2} {jumps2} {place} | {place}, a {np} {jumps} and a {np2} {jumps2}
        | a {np} is {jumping} and a {np2} is {jumping2} {place} | {place}, a {np} is {jumping} while a {np2} {jumps2}
        | there is a {np} {jumping} and a {np2} {jumping2} {place} | watch a {np} {jump} while a {np2} {jumps2} {place}
        | a video of a {np} {jumping} and a {np2} {jumping2} {place}""",
    (2, "partial"): """a {subject} and a {subject2} | a {colour} {subject} and a {colour2} {subject2}
        | a {np} and a {np2} {place} | {place}, a {subject} {jumps} and a {subject2} {jumps2}
        | a {colour} {subject} {jumps} and a {colour2} {subject2} {jumps2} | the {np} {jumps} and the {np2} {jumps2}""",
    (2, "unseen"): """{place} there is a {np} {jumping} and a {np2} {jumping2}
        | while a {np} {jumps}, a {np2} {jumps2} {place}
        | a {np} that is {jumping} and a {np2} that is {jumping2} {place}""",
}
_ZH_PATTERNS = {
    (1, "full"): """一{np}在{place}{jumps} | 这{np}在{place}{jumps} | 一{np}正在{place}{jumps}
        | 在{place}，一{np}正在{jumps} | {place}有一{np}在{jumps} | 这是一{np}，它在{place}{jumps}
        | 一{np}在{place}{jumps}的视频""",
    (1, "partial"): """一{noun} | 一{np} | {place}的一{np} | {place}有一{noun} | {place}有一{hue}
        | 一{noun}在{place}{jumps} | 一{hue}在{place}{jumps} | 一{noun}在{jumps} | 一{hue}正在{jumps}
        | 这{np}正在{jumps} | 在{place}，一{noun}在{jumps}""",
    (1, "unseen"): """有一{np}在{place}{jumps} | 在{place}{jumps}的是一{np} | 在{place}，有一{np}，它正在{jumps}
        | 一{mw}在{place}{jumps}的{subject}""",
    (2, "full"): """一{np}在{place}{jumps}，一{np2}在{jumps2} | 在{place}，一{np}在{jumps}，一{np2}在{jumps2}
        | {place}有一{np}在{jumps}，还有一{np2}在{jumps2} | 在{place}，一{np}正在{jumps}，而一{np2}正在{jumps2}
        | 一{np}在{jumps}，同时一{np2}在{place}{jumps2} | 这{np}在{place}{jumps}，这{np2}在{jumps2}""",
    (2, "partial"): """一{noun}和一{noun2} | 一{hue}和一{hue2} | {place}有一{np}和一{np2}
        | 一{noun}在{jumps}，一{noun2}在{jumps2} | 一{hue}在{jumps}，一{hue2}在{jumps2}
        | 在{place}，一{noun}在{jumps}，而一{noun2}在{jumps2}""",
    (2, "unseen"): """有一{np}在{place}{jumps}，还有一{np2}在{jumps2}
        | 在{place}，有一{np}正在{jumps}，同时一{np2}正在{jumps2}
        | 一{np}正在{place}{jumps}，同时一{np2}正在{jumps2}""",
}
# Shorthands in patterns. {mw} is a Chinese noun's measure word.
_EN_SHORT = {"np": "{size} {colour} {subject}"}
_ZH_SHORT = {"np": "{mw}{size}{colour}{subject}", "hue": "{mw}{colour}{subject}", "noun": "{mw}{subject}"}
# The attributes that slots of other names stand for.
_ACTION = {"jumps": "action", "jumping": "action", "jump": "action"}
# These begin a noun phrase: an adjective between one of them and a noun belongs to that noun.
DETERMINERS = ("a", "an", "the", "one", "一", "这", "那")
_FORMS = {verb.split()[0]: verb.split() for verb in _EN_VERBS.split(",")}
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’][^\W_\u3400-\u9fff]+)*")


def split_words(text: str) -> list[str]:
    """The words of a text as this module counts them: lower-case words without punctuation, single Chinese characters.

    A hyphen parts words ("counter-clockwise" is two of them); full-width letters count as plain ones.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def _inflect(phrase: str) -> list[str]:
    """A verb phrase as in "it jumps", "it is jumping", "watch it jump". Chinese verbs have one form for all."""
    verb = phrase.lstrip("[").partition(" ")[0].rstrip("]")
    return [phrase.replace(verb, form, 1) for form in _FORMS.get(verb, [verb] * 3)]


class _Pattern(NamedTuple):
    text: str
    named: frozenset[str]


class Language:
    """Lexicon and patterns of one language, ready to draw from.

    `keys` maps what a reader looks for to (attribute, value); `texts` holds every piece that captions are made of.
    """

    def __init__(self, subjects, colours, sizes, actions, moves, places, patterns, short):
        self.keys: dict[str, tuple[str, str]] = {}
        self.texts: list[str] = []
        self.subjects, self.colours, self.sizes, self.places = (
            {value: self._read(name, value, entry.split("|")) for value, entry in table.items()}
            for name, table in (("subject", subjects), ("colour", colours), ("size", sizes), ("place", places))
        )
        self.actions = {}
        for action, entry in actions.items():
            for subject in SUBJECTS:
                every = [phrase.replace("*", verb) for phrase in entry.split("|") for verb in moves[subject].split("|")]
                # Nobody says that a circle circles.
                phrases = [phrase for phrase in dict.fromkeys(every) if not phrase.startswith(f"[{subject}s ")]
                self.actions[action, subject] = [self._read("action", action, _inflect(phrase)) for phrase in phrases]
        self.patterns = {key: [self._pattern(text, short) for text in all.split("|")] for key, all in patterns.items()}

    def _read(self, attribute: str, value: str, phrases: list[str]) -> list[str]:
        """The phrases without their brackets."""
        for phrase in phrases:
            self.keys[" ".join(split_words(phrase[phrase.index("[") : phrase.index("]")]))] = (attribute, value)
        plain = [phrase.replace("[", "").replace("]", "") for phrase in phrases]
        self.texts += plain
        return plain

    def _pattern(self, text: str, short: dict[str, str]) -> _Pattern:
        for name, slots in short.items():
            text = text.replace(f"{{{name}}}", slots).replace(f"{{{name}2}}", slots.replace("}", "2}"))
        self.texts.append(re.sub(r"{\w+}", " ", text))
        named = (_ACTION.get(name, name) + SECOND * len(two) for name, two in re.findall(r"{([a-z]+)(2?)}", text))
        return _Pattern(text.strip(), frozenset(named))


_EN = (_EN_SUBJECTS, _EN_COLOURS, _EN_SIZES, _EN_ACTIONS, _EN_MOVES, _EN_PLACES, _EN_PATTERNS, _EN_SHORT)
_ZH = (_ZH_SUBJECTS, _ZH_COLOURS, _ZH_SIZES, _ZH_ACTIONS, _ZH_MOVES, _ZH_PLACES, _ZH_PATTERNS, _ZH_SHORT)
LANGUAGES = {"en": Language(*_EN), "zh": Language(*_ZH)}
