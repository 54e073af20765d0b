"""Files that appear under their name whole or not at all: written under another name in the same folder, and renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from t2vlearn.errors import UserError

#: What the system says when there is no room left: on the disk, in the user's quota, for one file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _cannot_write(path: Path, error: OSError) -> UserError:
    advice = "free some space or choose another disk" if error.errno in NO_ROOM else "choose another file or folder"
    return UserError(f"cannot write {path} ({error.strerror or error}): {advice}")


def check_output(path: str | Path, suffixes: tuple[str, ...] = ()) -> Path:
    """`path` as a `Path`, once it is sure that a file can be made there; makes nothing, so it can be called early.

    Raises:
        UserError: for a suffix that is not in `suffixes` (none: any is allowed), or a folder that cannot be
            written to.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {path.name!r}: its name must end in one of {', '.join(suffixes)}")
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


def to_disk(path: Path) -> None:
    """Wait until a file is on the disk, and not only in the system's memory."""
    with path.open("rb+") as file:
        os.fsync(file)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to `path` where the `with` block ends well, else removed.

    Makes the folder where it is missing.

    Raises:
        UserError: for a folder that cannot be written to, a full disk, or any other `OSError` inside the block.
    """
    path = Path(path)
    # Lower case, for ffmpeg and Pillow go by the suffix.
    temporary = path.with_name(f".unfinished-{uuid4().hex}{path.suffix.lower()}")
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
