"""The figures have one look, numbers on their frames, and words for those who cannot see them."""

import base64
import re
import warnings

import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from t2vlearn import plots  # noqa: E402


def clip(frames=16, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, size, size, 3), dtype=np.uint8)


def labels(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def contrast(a, b):
    """The ratio of two colours' luminances, as the Web Content Accessibility Guidelines define it."""
    luminance = []
    for colour in (a, b):
        rgb = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminance.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(luminance) / min(luminance)


def test_style_sets_colours_and_readable_sizes():
    with matplotlib.rc_context():
        plots.style()
        assert [c["color"] for c in plt.rcParams["axes.prop_cycle"]] == list(plots.COLOURS)
        for name in ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"):
            assert plt.rcParams[name] >= 9, name
        assert contrast(plots.INK, plt.rcParams["figure.facecolor"]) >= 7


def test_a_strip_shows_every_other_frame_with_its_number():
    with matplotlib.rc_context():
        frames = clip(8)
        figure = plots.show_clips([frames], ["a brown puppy"], every=2)
        assert sorted(labels(figure)) == ["0", "2", "4", "6", "a brown puppy"]
        pictures = [image.get_array() for image in figure.findobj(matplotlib.image.AxesImage)]
        assert len(pictures) == 4 and (pictures[3] == frames[6]).all()
        assert not plt.get_fignums(), "an open figure would be shown twice in a notebook"


def test_a_table_of_counts_has_each_number_in_its_cell_and_legible():
    with matplotlib.rc_context():
        plots.style()
        figure, ax = plt.subplots()
        counts = np.arange(12).reshape(3, 4)
        plots.show_counts(ax, counts, ["a", "b", "c"], ["d", "e", "f", "g"])
        assert {text.get_position(): text.get_text() for text in ax.texts} == {
            (x, y): str(count) for (y, x), count in np.ndenumerate(counts) if count
        }
        assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
        (image,) = ax.images
        for text in ax.texts:
            x, y = text.get_position()
            assert contrast(text.get_color(), image.to_rgba(counts)[y, x, :3]) > 4.5
        plt.close(figure)


def test_strips_of_different_lengths_and_their_text_is_large_enough():
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.show_clips([clip(16), clip(4, seed=1)], ["video", "key frames"])
        figure.canvas.draw()
        assert labels(figure).count("3") == 2 and labels(figure).count("15") == 1
        shown = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text()]
        assert min(text.get_fontsize() for text in shown) >= 9
        # No number runs into the next: their boxes on the page do not overlap.
        boxes = [t.get_window_extent() for t in shown if t.get_text().isdigit()]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_frames_may_bear_other_numbers():
    with matplotlib.rc_context():
        figure = plots.show_clips(
            [clip(4), clip(6)], ["keys", "rest"], every=2, numbers=[[0, 5, 10, 15], range(20, 26)]
        )
        assert sorted(labels(figure)) == ["0", "10", "20", "22", "24", "keys", "rest"]
        with pytest.raises(ValueError, match=r"frames \[4\] need as many numbers, not \[3\]"):
            plots.show_clips([clip(4)], numbers=[range(3)])


def test_pixels_stay_sharp_when_enlarged_and_none_is_lost_when_a_drawing_shrinks():
    side = clip(2).shape[2]
    assert "image-rendering: pixelated" in plots.player(clip(2), "a clip", width=8 * side).data
    assert "image-rendering: auto" in plots.player(clip(2), "a drawing", width=side // 2).data


def test_each_clip_needs_a_title():
    with pytest.raises(ValueError, match="2 clips need as many titles, not 1"):
        plots.show_clips([clip(4), clip(4)], ["one"])


def test_player_holds_the_whole_clip_and_nothing_from_elsewhere():
    frames = clip(5)
    page = plots.player(frames, alt='a "red" circle <moves> left', fps=8, width=320).data
    assert 'alt="a &quot;red&quot; circle &lt;moves&gt; left"' in page
    assert 'width="320" height="320"' in page
    assert "http" not in page and "<script" not in page and not re.search(r"\son\w+=", page)
    still, moving = (
        iio.imread(base64.b64decode(data), extension=".webp", plugin="pillow", mode="RGB", index=...)
        for data in re.findall(r'data:image/webp;base64,([^"]+)"', page)
    )
    assert (moving == frames).all() and (still == frames[:1]).all()


def test_player_insists_on_words():
    with pytest.raises(TypeError):
        plots.player(clip(2))
    with pytest.raises(ValueError, match="alt"):
        plots.player(clip(2), alt=" ")


def test_chooser_shows_the_first_clip_and_names_every_other():
    clips = [clip(3, seed=i) for i in range(3)]
    page = plots.chooser(clips, ["0", "<1>", "2"], ["a", "b", "c"], "Which seed?", ["right", "a & b", ""]).data
    assert "http" not in page and "<script" not in page and not re.search(r"\son\w+=", page)
    assert re.findall(r'<input type="radio" name="[\w-]+"( checked)?> (.*?)</label>', page) == [
        (" checked", "0"), ("", "&lt;1&gt;"), ("", "2"),
    ]  # fmt: skip
    assert "<legend" in page and ">Which seed?</legend>" in page and ">a &amp; b</div>" in page
    moving = [iio.imread(base64.b64decode(data), extension=".webp", plugin="pillow", mode="RGB", index=...)
              for data in re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)]  # fmt: skip
    assert (np.stack(moving) == np.stack(clips)).all()


def test_two_choosers_in_one_page_are_two_groups():
    pages = [plots.chooser([clip(2, seed=s)] * 2, ["a", "b"], ["x", "y"], "Which?").data for s in (0, 0, 1)]
    names = [set(re.findall(r'name="([\w-]+)"', page)) for page in pages]
    assert names[0] == names[1] != names[2] and all(len(name) == 1 for name in names)
    assert names[0] == set(re.findall(r'fieldset id="([\w-]+)"', pages[0]))


def test_chooser_needs_words_for_every_clip():
    with pytest.raises(ValueError, match="2 clips need as many labels, alts and notes, not 1, 2 and 2"):
        plots.chooser([clip(2)] * 2, ["a"], ["x", "y"], "Which?")
    with pytest.raises(ValueError, match="alt"):
        plots.chooser([clip(2)] * 2, ["a", "b"], ["x", ""], "Which?")


def test_clips_that_are_none_and_clips_without_words_are_refused():
    with pytest.raises(ValueError, match="at least one clip"):
        plots.chooser([], [], [], "Which?")
    for make in (lambda: plots.player(clip(), " "), lambda: plots.chooser([clip()], ["a"], [""], "Which?")):
        with pytest.raises(ValueError, match="alt"):
            make()
