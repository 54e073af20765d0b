"""Any video becomes the model's frames; what is none, or too much of one, is refused for a reason."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from t2vlearn import decoding, media
from t2vlearn.decoding import Unusable, in_memory, read_clip


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *map(str, arguments)], check=True)


def read(path, num_frames=16, size=16):
    with path.open("rb") as file:
        return read_clip(file, num_frames, size)


def gradient(frames, height, width):
    """Each frame's grey level says its number."""
    clip = np.empty((frames, height, width, 3), np.uint8)
    clip[:] = np.linspace(30, 220, frames).round()[:, None, None, None]
    return clip


@pytest.mark.parametrize(
    ("suffix", "height", "width", "frames", "fps"),
    [
        (".mp4", 48, 64, 31, 30),
        (".webm", 80, 34, 16, 8),
        (".mkv", 33, 47, 60, 60),
        (".gif", 32, 32, 10, 10),
        (".avi", 64, 64, 5, 3),
    ],
)
def test_any_size_length_rate_and_codec_gives_frames_spread_evenly(tmp_path, suffix, height, width, frames, fps):
    clip, path = gradient(frames, height, width), tmp_path / f"clip{suffix}"
    if suffix in media.SUFFIXES:
        media.write(path, clip, fps=fps, scale=1)
    else:
        media.write(tmp_path / "clip.mp4", clip, fps=fps, scale=1)
        ffmpeg("-i", tmp_path / "clip.mp4", "-c:v", "mpeg4" if suffix == ".avi" else "libx264", "-q:v", 2, path)
    seen = read(path)
    assert seen.shape == (16, 16, 16, 3) and seen.dtype == np.uint8
    levels = seen.mean((1, 2, 3))
    # The last frame begins one frame before the end: by the clock, what is shown at each of 16 even times.
    expected = np.interp(np.linspace(0, frames - 1, 16), np.arange(frames), clip.mean((1, 2, 3)))
    assert np.abs(levels - expected).max() <= 190 / (frames - 1) + 4
    assert (np.diff(levels) >= -1).all() and levels[0] == pytest.approx(30, abs=4)
    assert levels[-1] == pytest.approx(220, abs=4)


def test_the_middle_square_is_what_media_fit_gives(tmp_path):
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (16, 8, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)  # (16, 64, 96, 3)
    path = media.write(tmp_path / "clip.mp4", clip, fps=30, scale=1)
    assert np.abs(read(path).astype(int) - media.fit(media.read(path), 16)).max() <= 6


def test_pixels_need_not_be_square(tmp_path):
    """Stored 32 wide, shown 64 wide: the middle square is 16 stored pixels wide."""
    clip = np.zeros((16, 32, 32, 3), np.uint8)
    clip[:, :, 8:24] = np.linspace(100, 200, 16).astype(np.uint8)[:, None, None, None]
    media.write(tmp_path / "square.mp4", clip, fps=30, scale=1)
    ffmpeg("-i", tmp_path / "square.mp4", "-vf", "setsar=2", "-crf", 5, tmp_path / "wide.mp4")
    assert read(tmp_path / "wide.mp4")[:, :, :2].min() > 80 > read(tmp_path / "square.mp4")[:, :, :2].max()


def test_a_file_in_memory_is_read_as_one_on_the_disk(own_videos):
    content = (own_videos / "0.mp4").read_bytes()
    with in_memory(content) as file:
        assert np.array_equal(read_clip(file, 16, 16), read(own_videos / "0.mp4"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory, own_videos):
    """A folder of files that are no videos to learn from."""
    folder = tmp_path_factory.mktemp("bad")
    whole = (own_videos / "3.mp4").read_bytes()
    moving = ("-f", "lavfi", "-i")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    ffmpeg("-i", own_videos / "3.mp4", "-c", "copy", folder / "index-at-the-end.mp4")
    at_the_end = (folder / "index-at-the-end.mp4").read_bytes()
    (folder / "index-at-the-end.mp4").write_bytes(at_the_end[: len(at_the_end) // 2])
    (folder / "index-at-the-front.mp4").write_bytes(whole[: len(whole) - 200])
    webm = (own_videos / "1.webm").read_bytes()
    (folder / "half.webm").write_bytes(webm[: 2 * len(webm) // 3])
    ffmpeg(*moving, "sine=d=1", folder / "sound.mp4")
    ffmpeg(*moving, "testsrc=s=32x32", "-frames:v", 1, folder / "one-frame.mp4")
    ffmpeg(*moving, "testsrc=s=32x32", "-frames:v", 1, folder / "picture.png")
    ffmpeg(*moving, "color=s=32x32:d=1", folder / "still.mp4")
    ffmpeg(*moving, "testsrc=s=3200x3200:r=2:d=1", "-preset", "ultrafast", folder / "huge.mp4")
    ffmpeg(*moving, "testsrc=s=32x32:r=1:d=62", "-preset", "ultrafast", folder / "long.mp4")
    return folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.mp4", "empty"),
        ("text.mp4", "damaged, cut off or no video"),
        ("noise.mp4", "damaged, cut off or no video"),
        ("index-at-the-end.mp4", "damaged, cut off or no video"),
        ("index-at-the-front.mp4", "damaged, cut off or no video"),
        ("half.webm", "damaged, cut off or no video"),
        ("sound.mp4", "no moving picture in it"),
        ("one-frame.mp4", "nothing moves in it"),
        ("picture.png", "nothing moves in it"),
        ("still.mp4", "nothing moves in it"),
        ("huge.mp4", "frames of more than 10 million pixels"),
        ("long.mp4", "longer than 60 seconds"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(bad, name, reason):
    with pytest.raises(Unusable, match=f"^{reason}$"):
        read(bad / name)


@pytest.mark.parametrize(
    "lines",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"],
)
def test_a_playlist_leads_nowhere(tmp_path, own_videos, lines):
    """ffmpeg follows such files when it is allowed to."""
    path = tmp_path / "list.mp4"
    path.write_text(lines.format(own_videos / "0.mp4"))
    with pytest.raises(Unusable, match="damaged, cut off or no video"):
        read(path)


def test_a_file_that_takes_for_ever_is_given_up(own_videos, monkeypatch):
    monkeypatch.setattr(decoding, "PATIENCE", 0.001)
    with pytest.raises(Unusable, match="more than 0.001 seconds to read"):
        read(own_videos / "0.mp4")
