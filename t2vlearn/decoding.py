"""Any video -> the few small frames that the model learns from, whatever the file may hold.

ffmpeg does it, in a process of its own that sees one open file and can open no other (a playlist that calls itself a video
leads nowhere), decodes so many pixels, seconds and frames and no more, and ends in time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import BinaryIO

import imageio_ffmpeg
import numpy as np

from t2vlearn.errors import UserError

MAX_PIXELS = 10_000_000  # a frame: 4K is 8.8 million
MAX_SECONDS = 60  # of video; of a longer one, 16 frames would tell nothing
RATE = 30  # frames a second that the 16 are chosen from
MAX_ALLOCATION = 300_000_000  # bytes that ffmpeg may ask for at once
PATIENCE = 120  # seconds that ffmpeg has for a file


def find_ffmpeg() -> str:
    """The program's path.

    Raises:
        UserError: if there is none.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise UserError("there is no ffmpeg here: pip install --force-reinstall imageio-ffmpeg") from None


class Unusable(Exception):
    """A file that nothing can be learnt from; the message says why."""


def in_memory(content: bytes) -> BinaryIO:
    """A file without a name that holds `content`: on Linux in memory, elsewhere a temporary one."""
    file = os.fdopen(os.memfd_create("clip"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file


def read_clip(file: BinaryIO, num_frames: int, size: int) -> np.ndarray:
    """Frames spread evenly from the first to the last, the middle square of each: uint8 (num_frames, size, size, 3).

    Frames are taken at `RATE` by the video's own clock, so that an uneven rate is evened out; a short video repeats some.

    Args:
        file: open at its start, and a file of the system's (see `in_memory`).
        num_frames: how many.
        size: height and width.

    Raises:
        Unusable: for a file that is empty, damaged, truncated or no video, that has too many pixels, lasts too long, or in
            which nothing moves, such as a single picture.
    """
    most = MAX_SECONDS * RATE + 1
    # The square is measured in pixels as they are shown (sar: the shape of one), and brought to size by averaging.
    square = f"crop='min(iw,ih/sar)':'min(ih,iw*sar)',scale={size}:{size}:flags=area,fps={RATE}"
    command = [
        *(find_ffmpeg(), "-v", "error", "-nostdin", "-xerror", "-threads", "1"),
        *("-max_pixels", str(MAX_PIXELS), "-max_alloc", str(MAX_ALLOCATION), "-protocol_whitelist", "fd", "-i", "fd:"),
        *("-map", "0:V:0", "-vf", square, "-frames:v", str(most), "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"),
    ]
    if not os.fstat(file.fileno()).st_size:
        raise Unusable("empty")
    try:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Unusable(f"more than {PATIENCE} seconds to read") from None
    told = done.stderr.decode(errors="replace")
    if "matches no streams" in told:
        raise Unusable("no moving picture in it")
    if "Picture size" in told:
        raise Unusable(f"frames of more than {MAX_PIXELS // 10**6} million pixels")
    if done.returncode or "prematurely" in told or len(done.stdout) < size * size * 3:
        raise Unusable("damaged, cut off or no video")
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, size, size, 3)
    if len(frames) == most:
        raise Unusable(f"longer than {MAX_SECONDS} seconds")
    if (frames == frames[0]).all():
        raise Unusable("nothing moves in it")
    return frames[np.linspace(0, len(frames) - 1, num_frames).round().astype(int)]
