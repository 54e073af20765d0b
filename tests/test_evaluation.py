"""The evaluation: its statistics against closed forms and slow loops, and a whole report on a few clips."""

import hashlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.evaluation import (
    EVAL_SPLITS,
    Accuracy,
    diversity,
    evaluate,
    frechet_distance,
    measured_with,
    prompts_of,
    wilson,
)
from t2vlearn.judge import match
from t2vlearn.pipeline import BUNDLED, PipelineConfig, TextToVideoPipeline, to_uint8
from t2vlearn.world import Actor, Caption, Scene, render
from t2vlearn.world.scenes import is_heldout


def test_wilson_interval_solves_its_quadratic():
    """The ends p solve (hits/n - p)^2 = z^2 p (1 - p) / n."""
    for hits, n in ((0, 10), (3, 10), (990, 1000), (10, 10)):
        for end in wilson(hits, n):
            assert math.isclose((hits / n - end) ** 2, 1.96**2 * end * (1 - end) / n, abs_tol=1e-12)
    assert all(0 <= end <= 1 for n in range(1, 100) for hits in (0, n) for end in wilson(hits, n))


def test_frechet_distance_of_gaussians_with_diagonal_covariance():
    """sum (m_x - m_y)^2 + (s_x - s_y)^2, coordinate by coordinate."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400, 3))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T)).T)  # exactly white
    x, y = torch.tensor(z * [1, 2, 3] + [0, 0, 1]), torch.tensor(z * [2, 2, 1] + [1, 0, 0])
    assert math.isclose(frechet_distance(x, y), (1 + 0 + 1) + (1 + 0 + 4), rel_tol=1e-9)
    assert abs(frechet_distance(x, x)) < 1e-9


def _caption(text, *named):
    caption = Caption(text)
    caption.named = frozenset(named)
    return caption


def test_only_what_is_named_is_judged():
    scene = Scene((Actor("puppy", "red", "big", "jumps"),), "park")
    reading = dict(scene.attributes, colour="blue")
    of = Accuracy.of([reading, reading], [scene, scene], [_caption("", "subject"), _caption("", "subject", "colour")])
    rows = of.rows()
    assert rows["subject"]["accuracy"] == 1
    assert rows["colour"]["accuracy"] == 0
    assert rows["colour"]["n"] == 1
    assert rows["joint"]["accuracy"] == 0.5
    assert "place" not in rows


def test_two_actors_are_matched_by_subject_not_by_order():
    scene = Scene((Actor("puppy", "red", "big", "jumps"), Actor("star", "blue", "small", "moves up")), "park")
    a = scene.attributes
    other_way = {"place": "park"}
    for key in ("subject", "colour", "size", "action"):
        other_way |= {key: a[key + "_2"], key + "_2": a[key]}
    assert match(other_way, a) == a
    assert match(dict(a), a) == a


@pytest.mark.parametrize("split", EVAL_SPLITS)
def test_prompts_are_prefix_stable_and_of_their_split(split):
    scenes, captions = prompts_of(split, 12)
    assert (scenes[:5], captions[:5]) == prompts_of(split, 5)
    combination = [is_heldout(a.subject, a.colour, a.action) for s in scenes for a in s.actors]
    assert all(combination) if EVAL_SPLITS[split][0] == "heldout" else not any(combination)
    assert {len(s.actors) for s in scenes} == {2 if split == "two_actors" else 1}


def test_a_whole_report(tiny_pipeline):
    seen = []
    report = evaluate(tiny_pipeline, "heldout", samples=6, progress=lambda *event: seen.append(event))
    found = json.loads(json.dumps(report.as_dict()))
    assert found["real"]["joint"]["n"] == 6
    assert 0 <= found["model"]["joint"]["low"] <= found["model"]["joint"]["high"] <= 1
    assert found["frechet"] > found["frechet_floor"] > 0
    _, captions = prompts_of("heldout", 6)
    sizes = {"subject": 9, "colour": 6, "size": 2, "action": 10, "place": 5}
    by_hand = [1 / np.prod([sizes[name] for name in caption.named]) for caption in captions]
    assert found["chance"] == pytest.approx(np.mean(by_hand))
    assert seen[-1] == ("generated clips", 6, 6)
    assert [name for name, _ in report.table()][-1] == "seconds a clip"


def test_diversity_is_none_for_one_clip_and_one_for_the_worlds_own():
    """Stand-ins for a model: one that makes the same clip for every seed, and one that makes what the world would."""
    scenes, captions = prompts_of("heldout", 60)
    by_caption = dict(zip(captions, scenes))

    def world(texts, seed):
        return SimpleNamespace(frames=to_uint8(render([by_caption[text] for text in texts], 16, 32, seed)))

    def one(texts, seed):
        return world(texts, 0)

    for model, wanted in ((world, 1.0), (one, 0.0)):
        model.config = PipelineConfig()
        assert diversity(model, scenes, captions) == pytest.approx(wanted, abs=0.25 * wanted)


def test_a_report_of_clips_that_no_caption_describes_whole_is_json(tiny_pipeline):
    scenes, captions = prompts_of("heldout", 2, seed=4)
    assert all(s.attributes.keys() != c.named for s, c in zip(scenes, captions))
    report = evaluate(tiny_pipeline, "heldout", samples=2, seed=4).as_dict()
    assert json.loads(json.dumps(report, allow_nan=False))["diversity"] is None


def test_bad_arguments(tiny_pipeline):
    with pytest.raises(ValueError, match="two samples"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(UserError, match="samples"):
        evaluate(tiny_pipeline, samples=1)
    with pytest.raises(UserError, match="unknown split"):
        evaluate(tiny_pipeline, "test", samples=4)
    with pytest.raises(UserError, match="16 frames, and these have 7"):
        evaluate(TextToVideoPipeline(num_frames=7, dim=16, depth=1, num_heads=2, text_depth=1), samples=4)


def test_a_result_says_whose_weights_it_is_about():
    weights = hashlib.sha256((BUNDLED / "model.safetensors").read_bytes()).hexdigest()
    assert measured_with({"weights": weights}) == "Measured with the bundled weights."
    assert "earlier" in measured_with({"weights": weights[::-1]}) and "earlier" in measured_with({})
