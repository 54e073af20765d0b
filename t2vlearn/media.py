"""Frames to files and back: mp4, webm, gif, lossless webp, and a png contact sheet.

Frames are uint8 arrays (f, h, w, 3). A file appears under its name whole or not at all: everything is written under a
temporary name in the same folder and renamed at the end.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageSequence

from t2vlearn.errors import UserError

#: ffmpeg's codec and its options for each kind of video file: constant quality, and for mp4 the index at the front,
#: so that a page can start playing before all of it has arrived.
VIDEO_CODECS = {
    ".mp4": ("libx264", ["-crf", "12", "-movflags", "+faststart"]),
    ".webm": ("libvpx-vp9", ["-crf", "15", "-b:v", "0", "-deadline", "good", "-cpu-used", "4"]),
}
#: What `write` can write.
SUFFIXES = (*VIDEO_CODECS, ".gif", ".webp", ".png")
#: Further kinds of video that `read` can read.
VIDEO_SUFFIXES = (*VIDEO_CODECS, ".mov", ".mkv", ".avi", ".m4v")
#: Grey between the pictures of a sheet: it parts them on snow as well as at night.
GAP_COLOUR = 128
#: What the system says when there is no room left: on the disk, in the user's quota, for one file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _cannot_write(path: Path, error: OSError) -> UserError:
    advice = "free some space or choose another disk" if error.errno in NO_ROOM else "choose another file or folder"
    return UserError(f"cannot write {path} ({error.strerror or error}): {advice}")


def check_output(path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """`path` as a `Path`, once it is sure that a file can be made there; makes nothing, so it can be called early.

    Raises:
        UserError: for a suffix that is not in `suffixes` (an empty tuple allows any), or a folder that cannot be
            written to.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {path.name!r}: its name must end in {', '.join(suffixes)}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to `path` where the `with` block ends well, else removed.

    Makes the folder where it is missing.

    Raises:
        UserError: for a folder that cannot be written to, a full disk, or any other `OSError` inside the block.
    """
    path = Path(path)
    # Lower case, for ffmpeg and Pillow go by the suffix.
    temporary = path.with_name(f".unfinished-{os.getpid()}{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            if temporary.exists():  # it does not after the renaming, nor where the folder could not be entered
                temporary.unlink()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_frames(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise UserError(f"frames must be a uint8 array (f, h, w, 3), not {frames.dtype} {frames.shape}")
    return frames


def enlarge(frames: np.ndarray, scale: int | None = None, at_least: int = 256) -> np.ndarray:
    """Each pixel of (…, h, w, 3) as a square of `scale` × `scale`; by default the short side gets to `at_least`.

    Raises:
        UserError: for a scale below 1.
    """
    if scale is None:
        scale = math.ceil(at_least / min(frames.shape[-3:-1]))
    if scale < 1:
        raise UserError(f"scale must be 1 or more, not {scale}")
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


def encode_webp(frames: np.ndarray, fps: float = 8) -> bytes:
    """Frames (f, h, w, 3) as an animated WebP that loses nothing and loops for ever."""
    return _encode(_check_frames(frames), ".webp", fps)


def _encode(frames: np.ndarray, suffix: str, fps: float) -> bytes:
    # A GIF counts in hundredths of a second: rounding the time of each frame's end keeps the whole from getting shorter.
    ends = [round(100 * (i + 1) / fps) * 10 for i in range(len(frames))]
    durations = [end - start for start, end in zip([0, *ends], ends)]
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    return iio.imwrite("<bytes>", frames, extension=suffix, plugin="pillow", duration=durations, loop=0, **options)


def _write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    codec, options = VIDEO_CODECS[path.suffix]
    # Colour is stored for blocks of 2 × 2 pixels (yuv420p, the kind that plays everywhere), so both sides must be even.
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        iio.imwrite(
            path,
            frames,
            plugin="FFMPEG",
            fps=fps,
            codec=codec,
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="quiet",
            output_params=options,
        )
        # imageio does not look at how ffmpeg ended, so see that all frames are there.
        complete = len(iio.imread(path, plugin="FFMPEG")) == len(frames)
    except (OSError, RuntimeError, IndexError, ValueError):
        complete = False
    if not complete:
        raise OSError(errno.ENOSPC, "ffmpeg stopped half-way; is the disk full?")


def write(path: str | Path, frames: np.ndarray, fps: float = 8, scale: int | None = None) -> Path:
    """Write a clip as the kind of file that `path` ends in, and return the path.

    .mp4 (H.264) and .webm (VP9) play once, .gif and .webp (lossless) loop for ever; .png is a contact sheet of all frames
    in one row (one frame is a plain picture).

    Args:
        path: where to; its suffix is one of `SUFFIXES`. A missing folder is made.
        frames: uint8 (f, h, w, 3).
        fps: frames a second.
        scale: how many times as wide and high each pixel gets; by default as many as bring the short side to 256.

    Raises:
        UserError: for another suffix, a folder that cannot be written to, a full disk, or frames that are none. No
            half-written file stays, and an older file of that name stays as it was.
    """
    path = check_output(path)
    if not fps > 0:
        raise UserError(f"fps must be greater than 0, not {fps}")
    frames = enlarge(_check_frames(frames), scale)
    with whole_file(path) as temporary:
        if temporary.suffix in VIDEO_CODECS:
            _write_video(temporary, frames, fps)
        elif temporary.suffix == ".png":
            sheet = contact_sheet(frames[None], scale=1)
            temporary.write_bytes(iio.imwrite("<bytes>", sheet, extension=".png", plugin="pillow"))
        else:
            temporary.write_bytes(_encode(frames, temporary.suffix, fps))
    return path


def write_clips(path: str | Path, clips: np.ndarray, fps: float = 8, scale: int | None = None) -> Path:
    """Write clips (n, f, h, w, 3) as one file: side by side in a video (`tile`), one row each in a .png (`contact_sheet`).

    Takes and raises what `write` does.
    """
    if Path(path).suffix.lower() == ".png":
        return write(path, contact_sheet(clips, scale)[None], scale=1)
    return write(path, tile(clips), fps, scale)


def read(path: str | Path) -> np.ndarray:
    """All frames of a video, animation or picture: uint8 (f, h, w, 3).

    A picture is one frame, and so is a .gif or .webp in which nothing ever moves.

    Raises:
        UserError: for a file that is missing or that holds no frames.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return np.asarray(iio.imread(path, plugin="FFMPEG"))
        return _read_pictures(path)
    except (OSError, RuntimeError, IndexError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"cannot read {path}: it is damaged, or not the kind of file that its name says") from error


def _read_pictures(path: Path) -> np.ndarray:
    # By Pillow itself: imageio's reader passes no durations on for WebP. GIF and WebP keep neighbours that are equal as
    # one frame that lasts longer, so a frame comes back as often as it lasts longer than the shortest (up to a limit: a
    # file from elsewhere may hold one picture for minutes).
    frames, durations = [], []
    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(max(frame.info.get("duration", 0), 1))
    repeats = np.round(np.array(durations) / min(durations)).astype(int)
    return np.repeat(np.stack(frames), np.minimum(repeats, 256), axis=0)


def fit(frames: np.ndarray, size: int) -> np.ndarray:
    """The middle square of each frame (f, h, w, 3), brought to `size` × `size` by averaging: uint8 (f, size, size, 3).

    Undoes `enlarge` exactly.
    """
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = frames[:, top : top + side, left : left + side]
    return np.stack([np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BOX)) for f in middle])


def tile(clips: np.ndarray, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """Clips (n, f, h, w, 3) side by side as one clip (f, H, W, 3), `gap` grey pixels apart.

    Up to four stand in one row; more stand in a square, or in `columns`.
    """
    n, f, h, w, _ = clips.shape
    columns = columns or (n if n <= 4 else math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    wall = np.full((f, rows * (h + gap) - gap, columns * (w + gap) - gap, 3), GAP_COLOUR, np.uint8)
    for i, clip in enumerate(clips):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        wall[:, y : y + h, x : x + w] = clip
    return wall


def contact_sheet(clips: np.ndarray, scale: int | None = None, gap: int = 2) -> np.ndarray:
    """All frames of the clips (n, f, h, w, 3) as one picture (H, W, 3): one row a clip, `gap` grey pixels apart.

    Frames are enlarged `scale` times, or by default as often as brings their short side to 128.
    """
    n, f = clips.shape[:2]
    pictures = enlarge(clips.reshape(n * f, 1, *clips.shape[2:]), scale, at_least=128)
    return tile(pictures, columns=f, gap=gap)[0]
