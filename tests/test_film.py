"""Cards can be read, fades mix what they should, and the visible mark covers a corner and nothing else."""

import numpy as np
import pytest

from t2vlearn.errors import UserError
from t2vlearn.film import INK, PAPER, cross_fade, stamp, title_card


def still(value, frames=6, height=128, width=160):
    return np.full((frames, height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    "text", ["Go", "A title that is much longer than the picture is wide", "two\nlines", "line\n" * 8 + "end"]
)
@pytest.mark.parametrize("height, width", [(256, 256), (128, 320)])
def test_a_title_stands_whole_in_the_middle(text, height, width):
    card = title_card(text, 3, height, width)
    assert card.shape == (3, height, width, 3) and card.dtype == np.uint8 and (card[0] == card[2]).all()
    ink = (card[0] != PAPER).any(-1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert card.max() >= INK[0] - 40
    assert rows[0] > 0 and columns[0] > 0 and rows[-1] < height - 1 and columns[-1] < width - 1
    assert abs(rows[0] + rows[-1] - height) < 0.1 * height and abs(columns[0] + columns[-1] - width) < 0.06 * width + 2


def test_a_title_that_nobody_could_read_is_refused():
    with pytest.raises(UserError, match="fewer words, or more lines"):
        title_card("A title that is much longer than the picture is wide", 1, 64, 64)
    assert title_card("A title\nthat is\nlonger", 1, 64, 64).shape == (1, 64, 64, 3)


def test_a_fade_goes_evenly_from_one_clip_to_the_other():
    film = cross_fade(still(0), still(200), overlap=3)
    assert film.dtype == np.uint8 and film[:, 0, 0, 0].tolist() == [0] * 3 + [50, 100, 150] + [200] * 3


def test_a_cut_and_a_fade_from_end_to_end():
    first, second = still(10), still(20)
    assert (cross_fade(first, second, 0) == np.concatenate([first, second])).all()
    assert len(cross_fade(first, second[:4], 4)) == 6
    for overlap in (-1, 5):
        with pytest.raises(UserError, match="does not fit"):
            cross_fade(first, second[:4], overlap)
    with pytest.raises(UserError, match="of one size"):
        cross_fade(first, still(0, height=64), 1)


@pytest.mark.parametrize("size", [128, 256])
def test_the_stamp_can_be_read_on_any_ground_and_leaves_the_rest_alone(size):
    for value in (0, 255):
        frames = still(value, height=size, width=size)
        marked = stamp(frames)
        assert (frames == value).all()  # the frames that were given stay as they were
        changed = np.argwhere((marked != frames).any((0, 3)))
        (top, left), (bottom, right) = changed.min(0), changed.max(0)
        assert top > 0.85 * size and left > 0.5 * size and (bottom, right) == (size - 1, size - 1)
        label = marked[0, top:, left:].astype(int)
        assert label.max() - label.min() > 150  # light letters on a dark label, whatever is below


def test_two_words_are_two_marks():
    frames = still(128)
    assert (stamp(frames, "generated") != stamp(frames, "made by a machine")).any()


@pytest.mark.parametrize("text", ["", " ", "小狗"])
def test_what_cannot_be_written_is_refused(text):
    with pytest.raises(UserError, match="write what the picture should say|plain Latin"):
        title_card(text, 1, 64, 64)
    with pytest.raises(UserError, match="write what the picture should say|plain Latin"):
        stamp(still(0), text)


def test_a_mark_that_does_not_fit_is_refused_and_not_cut():
    with pytest.raises(UserError, match="does not fit into 32 x 32"):
        stamp(still(0, height=32, width=32))


def test_a_mark_has_one_line():
    with pytest.raises(UserError, match="one line"):
        stamp(still(0), "generated\nby a machine")
