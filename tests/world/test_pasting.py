"""Drawings as actors: they stand where the world's subjects would, in its colours, and captions name them."""

import numpy as np
import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.world import Actor, Scene, caption_with, cut_out, draw_places, find_paths, paste, render, sample_scenes
from t2vlearn.world.captions import parse_prompt
from t2vlearn.world.pasting import dress
from t2vlearn.world.render import RGB


def disc(size=32, colour=(30, 90, 235)):
    """A disc on transparent ground that touches the picture's edges."""
    y, x = np.mgrid[:size, :size] + 0.5
    inside = ((x - size / 2) ** 2 + (y - size / 2) ** 2) < (size / 2) ** 2
    image = np.zeros((size, size, 4), np.uint8)
    image[inside] = (*colour, 255)
    return image


@pytest.mark.parametrize("action", ["moves left", "jumps", "grows", "circles clockwise"])
def test_a_drawn_disc_goes_where_a_circle_goes(action):
    scenes = [Scene((Actor("circle", "blue", "small", action),), place) for place in ("plain", "park", "night")]
    drawn, real = paste([disc()], scenes, size=64, seed=3), render(scenes, size=64, seed=3)
    place = draw_places(scenes, 64, seed=3).unsqueeze(2)
    masks = [(clip - place).abs().amax(1) > 0.3 for clip in (drawn, real)]  # (n, f, h, w)
    both, either = (masks[0] & masks[1]).sum((2, 3)), (masks[0] | masks[1]).sum((2, 3))
    assert (both / either).min() > 0.6


def test_without_an_actor_the_place_is_the_worlds():
    scenes = sample_scenes(5, "train", 2)
    pasted, real = paste([disc()], scenes, size=32, seed=2), render(scenes, size=32, seed=2)
    assert pasted.shape == real.shape and pasted.abs().max() <= 1
    for row, column in ((0, 0), (0, 31), (31, 0), (31, 31)):  # where no disc comes
        torch.testing.assert_close(pasted[..., row, column], real[..., row, column])


def test_the_ball_is_the_worlds_too():
    scene = [Scene((Actor("circle", "blue", "small", "plays with a ball"),), "plain")]
    pasted, real = paste([disc()], scene, size=64, seed=4)[0], render(scene, size=64, seed=4)[0]
    ((path,),) = find_paths(scene, seed=4)
    for f in range(0, 16, 3):
        x, y = int(path.ball[0][f] * 64), int(path.ball[1][f] * 64)
        torch.testing.assert_close(pasted[:, f, y - 2 : y + 2, x - 2 : x + 2], real[:, f, y - 2 : y + 2, x - 2 : x + 2])


def test_what_is_coloured_takes_the_scenes_colour_and_black_and_white_stay():
    image = disc(colour=(250, 140, 20))
    image[12:20, 12:16, :3], image[12:20, 16:20, :3] = 255, 0
    dressed = dress(cut_out(image), "green")
    assert dressed.shape == (4, 48, 48)
    torch.testing.assert_close(dressed[:3, 24, 10], torch.tensor(RGB["green"]) * 2 - 1, atol=0.02, rtol=0)
    assert dressed[:3, 24, 21].min() > 0.9 and dressed[:3, 24, 26].max() < -0.9
    assert dressed[:3, 24, 1].max() < 0 and dressed[3, 24, 1] == 1  # the outline
    assert not dressed[:, 0, 0].any()


def test_plain_ground_is_cut_away_and_the_rest_is_centred():
    image = np.full((20, 30, 3), 240, np.uint8)
    image[2:8, 5:9] = (200, 20, 20)
    cut = cut_out(image)
    assert cut.shape == (6, 6, 4)
    assert (cut[..., 3].sum(0) > 0).tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize("image", [np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8)), np.zeros((8, 8, 3))])
def test_what_is_no_drawing_is_refused(image):
    with pytest.raises(UserError, match="draw"):
        cut_out(image)


def test_drawings_are_needed_and_one_actor():
    with pytest.raises(UserError, match="no drawings"):
        paste([], sample_scenes(1))
    with pytest.raises(ValueError, match="one actor"):
        paste([disc()], sample_scenes(1, "two_actors"))


def test_captions_name_the_new_word_and_all_else_as_before():
    for i, scene in enumerate(sample_scenes(300, "train", 7)):
        caption = caption_with("robot", scene, i)
        assert caption.split().count("robot") == 1 and "subject" in caption.named
        read = parse_prompt(caption)
        assert "subject" not in read
        # the action of a subject that is not known has nobody to belong to, but stands in the sentence
        for key in caption.named & {"place"}:
            assert read[key] == scene.attributes[key]


def test_a_word_is_taken_as_it_stands():
    scene = sample_scenes(1, seed=1)[0]
    assert r"\d" in caption_with(r"\d", scene)
