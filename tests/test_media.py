"""Files come back as they were written, play for ever where they can, and never stay half-written."""

import os
import struct
import subprocess
import sys
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2vlearn import media
from t2vlearn.errors import UserError


def clip(frames=16, height=32, width=32, seed=0):
    """A square that crosses a flat background: few colours, so that a GIF keeps it exactly."""
    video = np.full((frames, height, width, 3), (60, 140, 70), np.uint8)
    for i in range(frames):
        left = 1 + (i + seed) % (width - 8)
        video[i, 4:10, left : left + 6] = (200, 60, 40)
    return video


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".WEBP"])
def test_animations_come_back_exactly(tmp_path, suffix):
    frames = clip()
    path = media.write(tmp_path / f"clip{suffix}", frames)
    back = media.read(path)
    assert back.shape == (16, 256, 256, 3)
    assert (media.fit(back, 32) == frames).all()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("height, width", [(32, 32), (33, 47)])
def test_videos_come_back_nearly(tmp_path, suffix, height, width):
    frames = clip(height=height, width=width)
    back = media.read(media.write(tmp_path / f"clip{suffix}", frames, scale=1 if height % 2 else None))
    assert len(back) == 16
    if height % 2:
        assert back.shape[1:3] == (height + 1, width + 1)
        back = back[:, :height, :width]
    else:
        back = media.fit(back, 32)
    # Small parts of red on green lose some colour at scale 1 (it is stored for 2 × 2 pixels), hence the mean.
    assert np.abs(back.astype(int) - frames).mean() < 4


def test_pixel_format_plays_everywhere(tmp_path):
    path = media.write(tmp_path / "clip.mp4", clip(), fps=12)
    meta = iio.immeta(path, plugin="FFMPEG")
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert meta["fps"] == 12 and meta["duration"] == pytest.approx(16 / 12, abs=0.05)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_loop_for_ever_and_last_as_long_as_they_should(tmp_path, suffix):
    path = media.write(tmp_path / f"clip{suffix}", clip(), fps=8)
    total = 0
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            total += image.info["duration"]
    assert total == 2000


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_that_stand_still_come_back_as_often(tmp_path, suffix):
    frames = clip()
    frames[5] = frames[4]
    frames[13:] = frames[13]
    back = media.read(media.write(tmp_path / f"clip{suffix}", frames))
    assert len(back) == 16 and (media.fit(back, 32) == frames).all()


def test_png_is_one_row_and_one_frame_is_a_plain_picture(tmp_path):
    frames = clip(4)
    sheet = media.read(media.write(tmp_path / "sheet.png", frames, scale=2))
    assert sheet.shape == (1, 64, 4 * 64 + 3 * 2, 3)
    assert (sheet[0, :, -64:] == media.enlarge(frames, 2)[-1]).all()
    picture = media.read(media.write(tmp_path / "picture.png", frames[:1]))
    assert picture.shape == (1, 256, 256, 3) and (media.fit(picture, 32)[0] == frames[0]).all()


def test_tiles_keep_every_clip_whole():
    clips = np.stack([clip(seed=i) for i in range(5)])
    wall = media.tile(clips)
    assert wall.shape == (16, 2 * 32 + 1, 3 * 32 + 2, 3)
    assert (wall[:, 33:, 33:65] == clips[4]).all()
    assert (wall[:, 33:, 66:] == media.GAP_COLOUR).all()
    assert media.tile(clips[:3]).shape == (16, 32, 98, 3)
    assert media.tile(clips, columns=1).shape == (16, 5 * 33 - 1, 32, 3)


def test_contact_sheet_has_one_row_a_clip():
    clips = np.stack([clip(4, seed=i) for i in range(3)])
    sheet = media.contact_sheet(clips)
    assert sheet.shape == (3 * 130 - 2, 4 * 130 - 2, 3)
    assert (sheet[130:258, 260:388] == media.enlarge(clips[1, 2], 4)).all()


def test_clips_stand_side_by_side_in_a_video_and_below_each_other_in_a_sheet(tmp_path):
    clips = np.stack([clip(4, seed=i) for i in range(2)])
    wall = media.read(media.write_clips(tmp_path / "clips.webp", clips, scale=1))
    assert wall.shape == (4, 32, 65, 3) and (wall[:, :, 33:] == clips[1]).all()
    sheet = media.read(media.write_clips(tmp_path / "clips.png", clips))
    assert (sheet[0] == media.contact_sheet(clips)).all()


def test_fit_takes_the_middle_square():
    frames = np.zeros((1, 40, 80, 3), np.uint8)
    frames[:, :, 20:60] = 90
    assert (media.fit(frames, 8) == 90).all()


def test_a_missing_folder_is_made_and_an_old_file_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "clip.webp"
    media.write(path, clip())
    media.write(path, clip(4))
    assert len(media.read(path)) == 4
    assert os.listdir(path.parent) == ["clip.webp"]


@pytest.mark.parametrize("name", ["clip.avi", "clip", "clip.mp4.txt"])
def test_unknown_kind_of_file(tmp_path, name):
    with pytest.raises(UserError, match=r"must end in one of \.mp4, \.webm, \.gif, \.webp, \.png"):
        media.write(tmp_path / name, clip())
    assert not os.listdir(tmp_path)


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.mp4").mkdir()
    for path in (tmp_path / "file" / "a.mp4", tmp_path / "folder.mp4", tmp_path / ("x" * 300 + ".mp4")):
        with pytest.raises(UserError, match="choose another file or folder") as caught:
            media.write(path, clip())
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp", ".png"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, suffix):
    # A limit on the size of files stands in for the full disk: writing fails half-way in the same manner.
    code = f"""
import resource, numpy as np
from t2vlearn import media
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
noise = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
try:
    media.write({str(tmp_path / f"clip{suffix}")!r}, noise, scale=2)
except media.UserError as error:
    print(error)
"""
    (tmp_path / f"clip{suffix}").write_text("old")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "free some space" in done.stdout and done.stdout.count("\n") == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert os.listdir(tmp_path) == [f"clip{suffix}"]
    assert (tmp_path / f"clip{suffix}").read_text() == "old"


def test_frames_that_are_none(tmp_path):
    for frames in (clip().astype(np.float32), clip()[0], clip()[:0], clip()[..., :1]):
        with pytest.raises(UserError, match="uint8"):
            media.write(tmp_path / "clip.webp", frames)
    with pytest.raises(UserError, match="fps"):
        media.write(tmp_path / "clip.webp", clip(), fps=0)
    with pytest.raises(UserError, match="scale"):
        media.write(tmp_path / "clip.webp", clip(), scale=0)


@pytest.mark.parametrize("reader", [media.read, media.read_mark])
@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ".png"])
def test_reading_what_is_broken_or_missing(tmp_path, suffix, reader):
    path = tmp_path / f"clip{suffix}"
    with pytest.raises(UserError, match="there is no file"):
        reader(path)
    path.write_bytes(b"neither a video nor a picture")
    with pytest.raises(UserError, match="cannot read"):
        reader(path)


@pytest.mark.parametrize("suffix", media.SUFFIXES)
def test_the_mark_is_in_the_file_and_not_in_the_picture(tmp_path, suffix):
    plain, marked = tmp_path / f"plain{suffix}", tmp_path / f"marked{suffix}"
    media.write(plain, clip())
    media.write(marked, clip(), mark=media.MARK)
    assert media.read_mark(plain) == "" and media.MARK.encode() not in plain.read_bytes()
    assert media.read_mark(marked) == media.MARK and media.MARK.encode() in marked.read_bytes()
    assert (media.read(marked) == media.read(plain)).all()
    media.write(marked, media.read(marked), scale=1)  # a copy, frame by frame, has lost it
    assert media.read_mark(marked) == ""


def test_a_remark_of_another_program_is_read_as_it_stands(tmp_path):
    for key in ("Comment", "comment"):
        remark = PngInfo()
        remark.add_text(key, "drawn by hand")
        Image.new("RGB", (2, 2)).save(tmp_path / "other.png", pnginfo=remark)
        assert media.read_mark(tmp_path / "other.png") == "drawn by hand"


@pytest.mark.parametrize("suffix", media.SUFFIXES)
@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 8, 3), (0, 3, 8, 8, 3)])
def test_clips_that_are_none_are_refused(tmp_path, suffix, shape):
    for none in (np.zeros(shape, np.uint8), np.zeros((1, 3, 8, 8, 3))):
        with pytest.raises(UserError, match="clips must be a uint8 array"):
            media.write_clips(tmp_path / f"clips{suffix}", none)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", media.SUFFIXES)
def test_a_mark_comes_back_letter_by_letter(tmp_path, suffix):
    odd = r"a=b; #c \d [e]"
    assert media.read_mark(media.write(tmp_path / f"clip{suffix}", clip(2), mark=odd)) == odd
    for bad in ("小狗", "two\nlines"):
        with pytest.raises(UserError, match="one line of plain Latin letters"):
            media.write(tmp_path / f"bad{suffix}", clip(2), mark=bad)


def test_reading_a_grey_picture_and_one_with_transparency(tmp_path):
    Image.new("L", (20, 10), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (20, 10), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    assert (media.read(tmp_path / "grey.png") == 77).all()
    assert (media.read(tmp_path / "clear.png") == np.full((1, 10, 20, 3), 255)).all()  # on white
    Image.fromarray(np.full((10, 20), 77 * 257, np.uint16)).save(tmp_path / "deep.png")
    assert (media.read(tmp_path / "deep.png") == 77).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_one_frame_is_an_animation_too(tmp_path, suffix):
    still = clip(1)
    assert media.read(media.write(tmp_path / f"still{suffix}", still, scale=1)).shape == still.shape


@pytest.mark.parametrize("fps", [8, 35, 60, 120])
def test_a_quick_webp_comes_back_with_all_its_frames(tmp_path, fps):
    frames = clip(16)
    assert np.array_equal(media.read(media.write(tmp_path / "quick.webp", frames, fps, scale=1)), frames)


def test_a_picture_stands_as_its_camera_says(tmp_path):
    """EXIF 274, orientation 6: the top of the scene is at the right of what is stored."""
    stored, exif = np.zeros((8, 12, 3), np.uint8), Image.Exif()
    stored[:, 6:], exif[274] = 255, 6
    Image.fromarray(stored).save(tmp_path / "phone.png", exif=exif)
    shown = media.read(tmp_path / "phone.png")[0]
    assert shown.shape == (12, 8, 3)
    assert (shown == np.rot90(stored, -1)).all()


def test_encode_webp_is_a_file_in_memory():
    frames = clip(3)
    back = iio.imread(media.encode_webp(frames), extension=".webp", plugin="pillow", mode="RGB", index=...)
    assert (back == frames).all()


# ------------------------------------------------------------------ files that unpack to more than a machine can hold


def picture_header(side):
    """The beginning of a .png of side x side pixels, none of which follow."""
    content = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(("side", "reason"), [(6000, "6000 x 6000"), (12_000, "12000 x 12000"), (65_000, "too large")])
def test_a_picture_of_too_many_pixels_is_refused_before_any_is_decoded(tmp_path, side, reason):
    path = tmp_path / "bomb.png"
    path.write_bytes(picture_header(side))  # decoding it would fail in other words: no pixels follow
    with pytest.raises(UserError, match=f"{reason}.*smaller"):
        media.read(path)
    path.write_bytes(picture_header(60))
    with pytest.raises(UserError, match="damaged"):
        media.read(path)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_clip_of_too_many_frames_is_refused_before_they_are_decoded(tmp_path, monkeypatch, suffix):
    path = media.write(tmp_path / f"clip{suffix}", clip(), scale=1)
    decoded = []
    monkeypatch.setattr(media, "MAX_PIXELS", 16 * 32 * 32)
    assert len(media.read(path)) == 16
    monkeypatch.setattr(media, "MAX_PIXELS", 15 * 32 * 32)
    monkeypatch.setattr(media.iio, "imiter", lambda *_, **__: decoded.append(1))
    monkeypatch.setattr(media.ImageSequence, "Iterator", lambda *_: decoded.append(1))
    with pytest.raises(UserError, match="more than 15 frames of 32 x 32 pixels"):
        media.read(path)
    assert not decoded


def test_a_frame_that_lasts_long_counts_as_often_as_it_is_shown(tmp_path, monkeypatch):
    frames = clip()[[0] + [1] * 30]
    path = media.write(tmp_path / "clip.gif", frames, scale=1)
    monkeypatch.setattr(media, "MAX_PIXELS", 30 * 32 * 32)
    with pytest.raises(UserError, match="more than 30 frames"):
        media.read(path)
