"""Lessons in which way round: where circles start, who circles, and when."""

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from t2vlearn.circles import ENOUGH, WAYS, Circles, Lesson, lesson_at
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.recipe import PRESETS, TrainConfig
from t2vlearn.sources import World
from t2vlearn.stages import KeyframeTask
from t2vlearn.training import Interrupted, train
from t2vlearn.world import find_paths, render
from t2vlearn.world.scenes import is_heldout

SMALL = PipelineConfig(dim=16, depth=2, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
TEACHING = replace(
    PRESETS["tiny"], pipeline=SMALL, batch=(4, 6, 2), words=0.1, images=0.0, turns=(0.3, 0.55), questions=0.1
)
CPU = torch.device("cpu")


def task(**changes):
    torch.manual_seed(0)
    return KeyframeTask(TextToVideoPipeline(**vars(SMALL)), replace(TEACHING, **changes), 0)


@pytest.mark.parametrize("two", [0.0, 1.0])
@pytest.mark.parametrize("arc", [0.05, 0.5, 1.0])
def test_a_circle_starts_within_the_arc_and_is_otherwise_the_same(arc, two):
    source = Circles(replace(TEACHING, two_actor_share=two), 3, circling=0.5)
    clips = source.draw(2, 12, 12, np.random.default_rng(0))
    numbers = [0, 5, 10, 15]
    whole = find_paths([scene for _, scene in clips], 16, 3, range(16), clips[0][0])
    source.arc = arc
    seen = source.seen(clips, numbers)
    circling = [actor.action in WAYS for scene in seen.scenes for actor in scene.actors]
    assert any(circling) and not all(circling) and len(circling) == 12 * (1 + two)
    olds, news = ([path for paths in clips for path in paths] for clips in (whole, seen.paths))
    for circles, old, new in zip(circling, olds, news, strict=True):
        if not circles:
            assert torch.equal(old.x[numbers], new.x) and torch.equal(old.y[numbers], new.y)
            continue
        # Sixteen frames lie evenly on the circle, so their mean is its middle.
        x, y = old.x.mean(), old.y.mean()
        dx, dy = torch.stack([old.x[numbers], new.x]) - x, torch.stack([old.y[numbers], new.y]) - y
        (r, r_new), (angle, angle_new) = torch.hypot(dx, dy), torch.atan2(dy, dx)
        assert float(angle_new[0]) == pytest.approx(arc * float(angle[0]), abs=1e-5)
        assert abs(float(angle_new[0])) <= arc * math.pi + 1e-5
        torch.testing.assert_close(r_new, r)
        turned = torch.remainder(angle_new - angle + math.pi, 2 * math.pi)
        torch.testing.assert_close(turned, turned[:1].expand(4), atol=1e-4, rtol=0)
    frames = source.frames(clips, numbers, CPU)
    wanted = render(seen.scenes, 16, 32, 3, numbers, start=clips[0][0], paths=seen.paths)
    assert torch.equal(frames, wanted)


def test_without_a_share_and_with_the_whole_circle_the_world_is_as_ever_but_for_the_coin():
    """Which way is a coin's decision also where somebody circles anyway: the word must say what subject and colour do not."""
    world, source = World(TEACHING, 3), Circles(TEACHING, 3)
    old, new = (w.draw(1, 200, 200, np.random.default_rng(0)) for w in (world, source))
    for (number, scene), (same, other) in zip(old, new, strict=True):
        assert number == same and scene.place == other.place
        for before, after in zip(scene.actors, other.actors, strict=True):
            assert (before.action in WAYS) == (after.action in WAYS)
            assert before == after or after.action in WAYS


def test_the_lesson_grows_from_a_small_arc_to_nothing_but_circles_and_ends():
    start, during, end = (lesson_at(fraction, 0.1, (0.35, 0.6)) for fraction in (0.05, 0.4, 0.7))
    assert start.arc == 0.05 and 0.3 < during.arc < 1 and end.arc == 1
    assert during.circling == during.given == 1 and during.shift > 1
    assert start.circling == end.circling < 1 and start.shift == end.shift == 1
    arcs = [lesson_at(fraction, 0.1, (0.35, 0.6)).arc for fraction in np.linspace(0, 1, 101)]
    assert arcs == sorted(arcs) and arcs[35] == pytest.approx(0.3)


def test_in_the_lesson_all_clips_circle_from_a_given_start_among_more_noise():
    own, step = task(two_actor_share=0.0, mixed_levels=1.0), 4 * ENOUGH
    tau, given = ({fraction: [] for fraction in (0.4, 0.8)} for _ in range(2))
    for fraction, levels in tau.items():
        for i in range(20):
            _, _, _, known, t, _, _, *_ = own.batch(step + i, CPU, fraction)
            levels.append(torch.logit(t))
            scenes = [scene for _, scene in own.source.draw(step + i, 6, 24, np.random.default_rng(0))]
            given[fraction].append(known[:, 0].float())
            assert fraction != 0.4 or all(scene.actors[0].action in WAYS for scene in scenes)
            assert not any(is_heldout(a.subject, a.colour, a.action) for scene in scenes for a in scene.actors)
    # One in eight has a random part given, which may be all: then nothing is.
    shares = [float(torch.cat(rows).mean()) for rows in given.values()]
    assert shares[0] == pytest.approx(1 - 0.125 / 8, abs=0.03) and shares[1] == pytest.approx(0.45, abs=0.18)
    means = [torch.cat(levels).mean() for levels in tau.values()]
    assert float(means[0] - means[1]) == pytest.approx(0.8, abs=0.25)  # 480 levels of deviation 1 each


def test_a_lesson_that_has_begun_is_seen_through_and_one_that_has_not_stays_left_out():
    own = task()
    moments = (340, 0.2, 0.1), (510, 0.3, 1.0), (600, 0.5, 1.0), (700, 0.7, 0.1), (900, 0.9, 0.1)
    for step, fraction, circling in moments:  # other work slows the machine after 0.3
        own.batch(step, CPU, fraction)
        assert own.circles.circling == circling
    late = task()
    for step, fraction in ((200, 0.2), (300, 0.3), (800, 0.5)):
        late.batch(step, CPU, fraction)
        assert late.lesson == Lesson()


def test_a_lesson_for_which_there_is_no_time_is_left_out():
    hurried, plain = task(), task(turns=(0.0, 0.0))
    hurried.circles.circling = 1.0  # whatever was before
    few = int(ENOUGH / 0.25 * 0.4) - 1
    batch = hurried.batch(few, CPU, 0.4)
    assert hurried.lesson == Lesson() and hurried.circles.circling == 0 and hurried.circles.arc == 1
    own = [scene for _, scene in hurried.source.draw(few, 6, 24, np.random.default_rng(1))]
    assert not all(scene.actors[0].action in WAYS for scene in own)
    timely = task()
    assert timely.batch(few + 2, CPU, 0.4)[0].shape == batch[0].shape and timely.lesson.circling == 1
    assert plain.circles is None and type(plain.source) is World
    quick = task()
    quick.batch(4 * ENOUGH, CPU, 0.099)
    assert quick.lesson.arc < 0.1  # nobody knows yet how long a step with pictures takes
    quick.batch(4 * ENOUGH + few // 2, CPU, 0.4)
    assert quick.lesson == Lesson()  # so many steps in all would do, but those of words are quick
    silent = task(questions=0.0)
    silent.batch(4 * ENOUGH, CPU, 0.4)
    assert silent.world is None and silent.lesson.circling == 1


@pytest.mark.parametrize(
    "changes", [{"turns": (0.05, 0.3), "words": 0.1}, {"turns": (0.6, 0.3)}, {"sheet_every": 0.0}], ids=str
)
def test_a_recipe_in_no_order_is_refused(changes):
    with pytest.raises(ValueError, match="turns are|sheet_every is"):
        TrainConfig(**changes)


def test_a_resumed_run_knows_when_pictures_came_in(tmp_path):
    """Else it would take the pace of the words' quick steps for that of pictures, and begin a lesson in vain."""
    config = replace(
        TEACHING, pipeline=PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, width=8),
        batch=(4, 2, 2), share=(0.1, 0.8, 0.1), sheet_every=2.0,
    )  # fmt: skip

    def stop(now):
        if (now.stage, now.step) == ("key frames", 30):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(config, tmp_path, steps=50, progress=stop)
    position = json.loads(safe_open(tmp_path / "checkpoint.safetensors", "pt").metadata()["position"])
    assert position["began"][0] > 0 and position["began"][1] < config.words
    train(config, tmp_path, steps=50, resume=True)
