"""Questions: the right answers are what is drawn and said, and whoever asks only listens."""

import math
from dataclasses import replace

import pytest
import torch

from t2vlearn.denoiser import SpaceTimeDenoiser, sinusoidal, space_time_angles
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.questions import (
    CELLS,
    NOT_ASKED,
    Questions,
    Seen,
    listening,
    what_is_said,
    what_is_where,
    where_and_how_large,
)
from t2vlearn.recipe import PRESETS
from t2vlearn.stages import TASKS
from t2vlearn.text import Text
from t2vlearn.world import ATTRIBUTES, draw_places, find_paths, parse_prompt, render, sample_scenes

SMALL = PipelineConfig(dim=16, depth=2, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
ASKING = replace(PRESETS["tiny"], pipeline=SMALL, batch=(6, 4, 2), questions=0.1, images=0.0)
CPU = torch.device("cpu")


def task(stage, **changes):
    torch.manual_seed(0)
    return TASKS[stage](TextToVideoPipeline(**vars(SMALL)), replace(ASKING, **changes), 0)


def test_a_patch_is_asked_about_what_the_renderer_draws_there():
    scenes = [*sample_scenes(30, "two_actors", seed=2), *sample_scenes(30, seed=2)]
    numbers = [0, 7, 15]
    right = what_is_where(Seen(scenes, find_paths(scenes, seed=4, frames=numbers)), side=4)
    clips, empty = render(scenes, 16, 32, 4, numbers), draw_places(scenes, 32, 4)
    painted = ((clips - empty.unsqueeze(2)).abs().amax(1) > 0.2).float()  # (n, f, 32, 32)
    share = painted.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)).flatten(2)  # of each patch
    asked = right["subject"] != NOT_ASKED
    assert (share[asked] > 0.1).float().mean() > 0.95 and share[asked].mean() > 3 * share[~asked].mean()
    for i, scene in enumerate(scenes):
        assert asked[i].any(-1).float().mean() > 0.5  # of most frames something is asked
        assert (right["place"][i] == ATTRIBUTES["place"].index(scene.place)).all()
        who = [scene.actors[n] for n in right["actor"][i][asked[i]].tolist()]
        for name in ("subject", "colour", "size", "action"):
            told = [None if n == NOT_ASKED else ATTRIBUTES[name][n] for n in right[name][i][asked[i]].tolist()]
            assert told == [actor.named_size if name == "size" else getattr(actor, name) for actor in who]
            assert (right[name][i][~asked[i]] == NOT_ASKED).all()


def test_where_and_how_large_bound_the_path():
    scenes = [*sample_scenes(20, seed=5), *sample_scenes(2, "two_actors", seed=5)]
    paths = find_paths(scenes, seed=6, frames=[0, 4, 15])
    right = where_and_how_large(Seen(scenes, paths))
    assert all((value[20:] == NOT_ASKED).all() for value in right.values())
    for i in range(20):
        (path,) = paths[i]
        for frame in range(3):
            row, column = divmod(int(right["where"][i, frame, 0]), CELLS)
            assert column / CELLS <= path.x[frame] < (column + 1) / CELLS
            assert row / CELLS <= path.y[frame] < (row + 1) / CELLS
            half_octaves = 2 * math.log2(16 * path.size[frame])
            assert int(right["size"][i, frame, 0]) == min(max(math.floor(half_octaves), 0), 5)
    assert len(right["size"][:20].unique()) > 2


def test_a_caption_is_asked_for_what_a_reader_finds_in_it():
    scenes = sample_scenes(60, seed=3)
    captions = [scene.caption(("en", "zh")[i % 2], seed=i) for i, scene in enumerate(scenes)]
    captions[7] = ""
    right = what_is_said(scenes, captions)
    for i, caption in enumerate(captions):
        told = {name: ATTRIBUTES[name][int(value[i])] for name, value in right.items() if value[i] != NOT_ASKED}
        assert told == (parse_prompt(caption) if caption else {})
    two = sample_scenes(3, "two_actors")
    assert all((value == NOT_ASKED).all() for value in what_is_said(two, [s.caption() for s in two]).values())


def test_an_answer_costs_its_mean_cross_entropy_where_something_is_asked():
    torch.manual_seed(0)
    ask, x = Questions(8, {"subject": 3, "colour": 2}), torch.randn(2, 4, 5, 8)
    state = torch.get_rng_state()
    again = Questions(8, {"subject": 3, "colour": 2})
    assert all(torch.equal(a, b) for a, b in zip(ask.parameters(), again.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)  # whoever asks leaves chance as it was
    right = {name: torch.randint(0, n, (2, 4, 5)) for name, n in (("subject", 3), ("colour", 2))}
    right["subject"][0, 1, 2:] = right["subject"][1, 3] = NOT_ASKED
    lost = ask(x, right)
    for i in range(2):
        for frame in range(4):
            total = 0.0
            for name, head in ask.heads.items():
                costs = [
                    -torch.log_softmax(head(x[i, frame, n]), -1)[right[name][i, frame, n]]
                    for n in range(5)
                    if right[name][i, frame, n] != NOT_ASKED
                ]
                total = total + (sum(costs) / len(costs) if costs else 0.0)
            torch.testing.assert_close(lost[i, frame], torch.as_tensor(total))


def test_a_listener_hears_the_tokens_changes_nothing_and_is_gone_afterwards():
    torch.manual_seed(0)
    denoiser = SpaceTimeDenoiser(4, 8, 16, depth=2, num_heads=2, width=8, convs=1)
    torch.nn.init.normal_(denoiser.conv_out.weight)
    text = Text(torch.randn(2, 3, 16), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 16))
    inputs = torch.randn(2, 4, 3, 8, 8), torch.rand(2, 3), torch.rand(2, 3), text
    with listening(list(denoiser.blocks)) as heard:
        out = denoiser(*inputs)
    assert torch.equal(out, denoiser(*inputs)) and len(heard) == 2
    # What the last block returns is all that comes after it needs: 4 x 4 patches of 16 numbers.
    assert heard[1].shape == (2, 3, 16, 16)
    torch.testing.assert_close(denoiser.blocks[1](heard[0], *_condition(denoiser, *inputs[1:])), heard[1])
    with pytest.raises(RuntimeError), listening(list(denoiser.blocks)):
        denoiser(inputs[0][:, :3], *inputs[1:])
    assert not any(block._forward_hooks for block in denoiser.blocks)


def _condition(denoiser, tau, times, text):
    """What a block is given beside its tokens."""
    told = denoiser.level(sinusoidal(tau, 16)) + denoiser.at(times) + denoiser.pooled(text.pooled).unsqueeze(1)
    return torch.nn.functional.silu(told).unsqueeze(2), text, space_time_angles(times, 4, 8)


@pytest.mark.parametrize("stage", ["codec", "key frames"])
def test_the_loss_is_that_without_questions_and_a_tenth_of_theirs(stage):
    asks, silent = task(stage), task(stage, questions=0.0)
    batch, plain = asks.batch(3, CPU), silent.batch(3, CPU)
    assert all(torch.equal(a, b) for a, b in zip(batch, plain, strict=False)) and len(batch) > len(plain)
    silent.load_state_dict(asks.state_dict(), strict=False)
    losses = [asks.eval()(*batch), silent.eval()(*plain)]
    asks.config = replace(asks.config, questions=0.3)
    assert losses[0] > losses[1]
    torch.testing.assert_close(asks(*batch) - losses[1], 3 * (losses[0] - losses[1]), rtol=1e-4, atol=1e-5)


def test_the_questions_to_the_patches_are_a_mean_over_the_frames_that_are_not_given():
    asks = task("key frames").eval()
    *inputs, what, where, said = asks.batch(3, CPU)
    inputs[3] = torch.tensor([[True, False, False, False]] * 4)
    asks.config = replace(asks.config, questions=1.0)

    def asked(frame):
        other = {name: value.clone() for name, value in what.items()}
        for value in other.values():
            value[:, frame][value[:, frame] > 0] = 0
        return asks(*inputs, other, where, said)

    whole = asks(*inputs, what, where, said)
    torch.testing.assert_close(asked(0), whole)
    assert not torch.isclose(asked(1), whole)


def test_at_first_there_are_words_and_no_pictures():
    early = task("key frames", batch=(6, 8, 2), words=0.1)
    whole, later = early.batch(3, CPU, fraction=0.09), early.batch(3, CPU, fraction=0.1)
    assert [len(whole[i]) for i in range(7)] == [0, 32, 32, 32, 0, 0, 0]
    assert [len(later[i]) for i in range(7)] == [8] * 7 and later[0].shape[2] == 4
    assert whole[8]["where"].shape == (32, 4, 1) and whole[9]["place"].shape == (32, 1)
    early(*whole).backward()
    moved = {name.split(".")[0] for name, p in early.named_parameters() if p.grad is not None}
    assert moved == {"text_encoder", "denoiser", "where", "said"}
    assert early.denoiser.conv_in.weight.grad is None and early.denoiser.pooled.weight.grad.any()
    assert len(task("key frames", batch=(6, 8, 2), words=0.1, questions=0.0).batch(3, CPU, fraction=0.0)[0]) == 8
    silent = task("key frames", batch=(6, 8, 2), words=0.0)
    assert len(silent.batch(3, CPU, fraction=0.0)[0]) == 8


def test_the_parts_of_a_batch_of_words_make_the_whole():
    own = task("key frames", batch=(6, 5, 2), words=0.1)
    whole, losses, counts = own(*own.batch(3, CPU, fraction=0.0)), [], []
    for number in range(3):
        own.part = (number, 3)
        batch = own.batch(3, CPU, fraction=0.0)
        losses.append(own(*batch))
        counts.append(own.count(batch))
    assert [int(n) for n in counts] == [6, 7, 7]
    torch.testing.assert_close(sum(n * x for n, x in zip(counts, losses)) / 20, whole)


@pytest.mark.parametrize("stage", ["codec", "key frames"])
def test_who_asks_is_trained_beside_the_pipeline_and_no_part_of_it(stage):
    pipe = TextToVideoPipeline(**vars(SMALL))
    names = list(pipe.state_dict())
    own = TASKS[stage](pipe, ASKING, 0)
    own(*own.batch(0, CPU)).backward()
    heads = [p for name, p in own.named_parameters() if ".heads." in name]
    assert heads and all(p.grad is not None for p in heads)
    assert list(pipe.state_dict()) == names


def test_nobody_asks_a_frozen_encoder_or_about_videos_that_nobody_knows():
    pipe = TextToVideoPipeline(**vars(SMALL))
    pipe.visual_encoder.codec.encoder.requires_grad_(False)
    assert TASKS["codec"](pipe, ASKING, 0).world is None
    assert len(TASKS["codec"](pipe, ASKING, 0).batch(0, CPU)) == 3
    assert task("video").world is None and len(task("video").batch(0, CPU)) == 7
