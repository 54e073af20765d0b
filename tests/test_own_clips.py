"""Videos of one's own: read once, shuffled without repeats, encoded once, and what cannot be used is listed."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors import safe_open

from t2vlearn import own_clips
from t2vlearn.codec import FrameCodec
from t2vlearn.decoding import read_clip
from t2vlearn.errors import UserError
from t2vlearn.folder import Skipped
from t2vlearn.own_clips import FOLDER, OwnClips, prepare, summary

CPU = torch.device("cpu")
NUMBERS = [0, 5, 15]


def ignore(done, fraction):
    """Nobody watches."""


@pytest.fixture(scope="module")
def prepared(own_videos, tmp_path_factory):
    """The folder of a run that has read the videos, what was skipped, and what was told on the way."""
    out, told = tmp_path_factory.mktemp("run"), []
    skipped = prepare(own_videos, out, 16, 16, lambda *now: told.append(now))
    return out, skipped, told


def codec(seed=0):
    torch.manual_seed(seed)
    return FrameCodec(4, 4, 8).eval()


def test_clips_are_the_videos_frames_with_their_captions(prepared, own_videos):
    out, skipped, told = prepared
    own = OwnClips(out, 0)
    assert own.captions == ["A red square!", "a blue square goes right", "一个绿色的方块", "two words", "a grey square"]
    assert [own.caption(i, None) for i in (2, 0)] == ["一个绿色的方块", "A red square!"]
    frames = own.frames([2, 0], NUMBERS, CPU)
    for name, clip in zip(("2.gif", "0.mp4"), frames, strict=True):
        with (own_videos / name).open("rb") as file:
            expected = torch.from_numpy(read_clip(file, 16, 16)[NUMBERS]).permute(3, 0, 1, 2)
        assert torch.equal(((clip + 1) * 127.5).round().byte(), expected)
    captions, clips = own.examples(NUMBERS, CPU)
    assert captions == own.captions and torch.equal(clips[2], frames[0])
    assert own.about() == {"clips": 5, "example": "A red square!"}
    fractions = [fraction for _, fraction in told]
    assert [done for done, _ in told] == list(range(1, 8)) and fractions == sorted(fractions) and fractions[-1] <= 1


def test_what_is_skipped_is_listed(prepared):
    out, skipped, _ = prepared
    assert skipped == [Skipped("silent.mp4", "no caption"), Skipped("torn.mp4", "damaged, cut off or no video")]
    assert (out / "skipped.txt").read_text() == "silent.mp4: no caption\ntorn.mp4: damaged, cut off or no video\n"
    assert summary(skipped) == "2 skipped: no caption (1), damaged, cut off or no video (1)"
    assert summary([Skipped("", str(i)) for i in range(6)]).endswith("other reasons (2)")


def test_latents_are_the_codecs(prepared):
    own, net = OwnClips(prepared[0], 0), codec()
    own.encode_all(net, CPU, ignore)
    latents = own.latents([3, 1], NUMBERS, net, CPU)
    with torch.no_grad():
        expected = net.encode(own.frames([3, 1], NUMBERS, CPU))
    torch.testing.assert_close(latents, expected, atol=2e-3, rtol=2e-3)  # float16
    assert latents.dtype == torch.float32 and latents.shape == (2, 4, 3, 4, 4)


def test_latents_are_made_again_for_another_codec_only(prepared):
    own, path = OwnClips(prepared[0], 0), prepared[0] / FOLDER / "latents-00000.safetensors"
    own.encode_all(codec(), CPU, ignore)
    first, before = path.stat().st_ino, own.latents([0], NUMBERS, codec(), CPU)
    own.encode_all(codec(), CPU, ignore)
    assert path.stat().st_ino == first
    own.encode_all(codec(1), CPU, ignore)
    assert path.stat().st_ino != first and not torch.equal(own.latents([0], NUMBERS, codec(1), CPU), before)
    with safe_open(path, "pt") as file:
        assert file.get_slice("clips").get_dtype() == "F16"


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Seven clips in three files. Clip i is all of one colour, which says i."""
    monkeypatch.setattr(own_clips, "PER_FILE", 3)
    folder = tmp_path / FOLDER
    for first in (0, 3, 6):
        clips = torch.arange(first, min(first + 3, 7), dtype=torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 16, 8, 8, 3)
        own_clips._save(folder / own_clips._name("frames", first), clips)
    (folder / "index.json").write_text(json.dumps({"captions": [f"clip {i}" for i in range(7)]}))
    return tmp_path


def test_an_epoch_shows_each_clip_once_whatever_the_batch(many):
    own, rng = OwnClips(many, 0), np.random.default_rng(0)
    for n in (1, 2, 3, 7, 10):
        numbers = [i for step in range(70) for i in own.draw(step, n, 4 * n, rng)]
        epochs = [numbers[7 * e : 7 * e + 7] for e in range(10 * n)]
        assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
        assert epochs[0] != epochs[1]
    assert own.draw(1, 3, 3, rng) == OwnClips(many, 0).draw(1, 3, 12, np.random.default_rng(5))  # from its step alone
    assert [own.draw(s, 7, 7, rng) for s in range(3)] != [OwnClips(many, 1).draw(s, 7, 7, rng) for s in range(3)]


def test_every_place_of_an_order_is_as_likely_for_each_clip(many):
    rng = np.random.default_rng(0)
    counts = Counter(OwnClips(many, seed).draw(0, 1, 1, rng)[0] for seed in range(700))
    assert set(counts) == set(range(7)) and min(counts.values()) > 100 - 4 * (100 * 6 / 7) ** 0.5


def test_clips_are_found_in_their_files(many):
    own = OwnClips(many, 0)
    assert ((own.frames(range(7), [3], CPU)[:, 0, 0, 0, 0] + 1) * 127.5).round().tolist() == list(range(7))
    told = []
    own.encode_all(codec(), CPU, lambda *now: told.append(now))
    assert told == [(3, 3 / 7), (6, 6 / 7), (7, 1.0)]
    assert own.latents([6, 0], [0], codec(), CPU).shape == (2, 4, 1, 2, 2)


def test_more_videos_than_fit_in_a_file(own_videos, tmp_path, monkeypatch):
    monkeypatch.setattr(own_clips, "PER_FILE", 2)
    prepare(own_videos, tmp_path, 16, 16, ignore)
    parts, whole = OwnClips(tmp_path, 0).frames(range(5), NUMBERS, CPU), tmp_path / "whole"
    assert len(list((tmp_path / FOLDER).glob("frames-*"))) == 3
    monkeypatch.setattr(own_clips, "PER_FILE", 512)
    prepare(own_videos, whole, 16, 16, ignore)
    assert torch.equal(parts, OwnClips(whole, 0).frames(range(5), NUMBERS, CPU))


def test_long_captions_are_cut_and_empty_ones_skipped(own_videos, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(own_videos, data)
    (data / "0.txt").write_text("好" * 60, encoding="utf-8")
    (data / "1.txt").write_text(" ...! ☂\n", encoding="utf-8")
    (data / "3.txt").write_text(" two\n\nlines ")
    skipped = prepare(data, tmp_path / "run", 16, 16, ignore)
    assert Skipped("1.webm", "no words in its caption") in skipped
    captions = OwnClips(tmp_path / "run", 0).captions
    assert captions[0] == " ".join("好" * 48) and captions[2] == "two lines"


def test_reading_again_leaves_nothing_of_the_last_time(own_videos, tmp_path):
    prepare(own_videos, tmp_path, 16, 16, ignore)
    (tmp_path / FOLDER / "latents-00000.safetensors").touch()
    data = tmp_path / "data"
    data.mkdir()
    for name in ("0.mp4", "0.txt"):
        shutil.copy(own_videos / name, data)
    prepare(data, tmp_path, 16, 16, ignore)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == ["frames-00000.safetensors", "index.json"]
    assert OwnClips(tmp_path, 0).captions == ["A red square!"] and not (tmp_path / "skipped.txt").exists()


@pytest.mark.parametrize(
    ("names", "end"), [((), "$"), (("silent.mp4",), r": 1 skipped: no caption \(1\); the list is in .*skipped.txt$")]
)
def test_no_video_at_all_is_one_clear_line(own_videos, tmp_path, names, end):
    data = tmp_path / "data"
    data.mkdir()
    for name in names:
        shutil.copy(own_videos / name, data)
    with pytest.raises(UserError, match=f"there is no captioned video in .*data that can be used{end}"):
        prepare(data, tmp_path / "run", 16, 16, ignore)
    assert not (tmp_path / "run" / FOLDER).exists()


def test_a_mistyped_folder_costs_no_clips(own_videos, tmp_path):
    prepare(own_videos, tmp_path, 16, 16, ignore)
    with pytest.raises(UserError, match="there is no folder"):
        prepare(tmp_path / "typo", tmp_path, 16, 16, ignore)
    assert OwnClips(tmp_path, 0).captions


def test_videos_beside_the_run_stay_as_they_are(own_videos, tmp_path):
    """A folder of videos may be called clips, and stand where the run's own files come to stand."""
    data = shutil.copytree(own_videos, tmp_path / "clips")
    before = sorted(path.name for path in data.iterdir())
    prepare(data, tmp_path, 16, 16, ignore)
    own_clips.remove(tmp_path)
    assert sorted(path.name for path in data.iterdir()) == before


def test_missing_clips_are_named(tmp_path):
    with pytest.raises(UserError, match="the clips in .* are missing: choose another folder with --out to read"):
        OwnClips(tmp_path, 0)
