"""One stage in progress: the learning rate's course, the running average, and batches that are not numbers."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from t2vlearn.optim import schedule
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.recipe import PRESETS
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import TASKS

SMALL = PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(4, 2, 2), images=0.35)


def run_of(stage, config=MICRO, accumulate=1):
    torch.manual_seed(0)
    task = TASKS[stage](TextToVideoPipeline(**vars(SMALL)), config, 0)
    return StageRun(task, config, Accelerator(cpu=True), accumulate)


@pytest.mark.parametrize("stage", TASKS)
def test_a_step_that_is_not_a_number_changes_nothing(stage, poison):
    """Weights, averages, statistics and optimisers stay as they were, and the next step is an ordinary one."""
    poison(TASKS[stage], at=3)
    run = run_of(stage)
    for _ in range(3):
        assert math.isfinite(run.advance(0.5))
    before = {name: value.clone() for name, value in run.tensors().items()}
    assert math.isnan(run.advance(0.5)) and (run.step, run.skipped, run.skipped_in_a_row) == (4, 1, 1)
    after = run.tensors()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert math.isfinite(run.advance(0.5)) and (run.step, run.skipped, run.skipped_in_a_row) == (5, 1, 0)
    assert any(not torch.equal(before[name], value) for name, value in run.tensors().items())


def test_each_step_has_the_learning_rates_of_its_part_of_the_stage():
    """Words alone learn by larger steps; no step uses the rates that the optimisers were made with."""
    run = run_of("key frames")
    for fraction, pace in ((0.0, 1.5), (0.2, 1.0), (0.9, 1.0)):
        step = run.step
        run.advance(fraction)
        rates = [group["lr"] for optimiser in run.optimisers for group in optimiser.param_groups]
        assert rates == pytest.approx([lr * schedule(fraction, step) * pace for lr in run.base_lr])


def test_clips_are_counted_of_which_a_step_of_single_frames_has_four_times_as_many():
    run = run_of("key frames")
    for fraction, clips in ((0.0, 8), (0.2, 16), (0.9, 18)):
        run.advance(fraction)
        assert run.clips == clips


def test_the_average_takes_in_the_weights_after_the_step():
    """w_ema = d w_0 + (1 - d) w_1 with d = min(0.999, 2 / 11) at the first update, w_1 the weights after it."""
    run = run_of("codec")
    before = [p.detach().clone() for p in run.task.parameters()]
    run.advance(0.0)
    after = list(run.task.parameters())
    assert any(not torch.equal(b, a) for b, a in zip(before, after))
    for average, b, a in zip(run.ema.module.parameters(), before, after, strict=True):
        torch.testing.assert_close(average, 2 / 11 * b + 9 / 11 * a, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("stage", TASKS)
@pytest.mark.parametrize("fraction", [0.0, 0.5])  # of single frames, or fewer; of all
def test_parts_one_after_the_other_learn_what_the_whole_batch_would(stage, fraction):
    """Five clips as one, two and two: the same losses and weights to 1e-5. The codec's batch stays whole: the same bits."""
    config = replace(MICRO, batch=(10, 5, 5))
    whole, parts = run_of(stage, config), run_of(stage, config, accumulate=3)
    for _ in range(8):
        assert parts.advance(fraction) == pytest.approx(whole.advance(fraction), rel=1e-5, abs=1e-5)
    tolerance = 0 if stage == "codec" else 1e-5
    ours, theirs = parts.tensors(), whole.tensors()
    for name in ours:
        if not name.startswith("optimiser"):
            torch.testing.assert_close(ours[name], theirs[name], atol=tolerance, rtol=tolerance, msg=name)


def test_parts_are_rendered_and_learnt_from_one_at_a_time():
    """Each forward sees its own clips only: that is what saves the memory."""
    run = run_of("video", replace(MICRO, batch=(10, 5, 5)), accumulate=3)
    seen = []
    run.task.denoiser.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    run.advance(0.0)
    assert seen == [1, 2, 2]


def test_a_bad_part_spoils_the_step_and_no_more(poison):
    """One part of three is not a number: nothing changes."""
    run = run_of("video", replace(MICRO, batch=(10, 5, 5)), accumulate=3)
    poison(TASKS["video"], at=0)
    before = {name: value.clone() for name, value in run.tensors().items()}
    assert math.isnan(run.advance(0.0)) and run.skipped == 1
    assert all(torch.equal(before[name], value) for name, value in run.tensors().items() if name in before)
