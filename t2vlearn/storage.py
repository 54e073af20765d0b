"""Weights folders: safetensors in half precision beside a JSON config with a checksum. Nothing here reads a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2vlearn.errors import UserError
from t2vlearn.files import to_disk

WEIGHTS_FILE, CONFIG_FILE, WORKSHOP = "model.safetensors", "config.json", ".unfinished"
FORMAT = 1  # another number means another architecture


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """An empty folder inside `folder`, to write files in before they take their names; it goes when the block ends.

    `save_file` has temporary files of its own beside the one it writes. A process that is killed leaves them, and the next
    one takes them away here.
    """
    inside = folder / WORKSHOP
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    try:
        yield inside
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def save_folder(folder: Path, state: dict[str, Tensor], config: dict) -> None:
    """Write `state` as float16 and `config` with the weights' SHA-256; each file appears whole or not at all.

    Raises:
        UserError: for a folder that cannot be made or written to, or a full disk.
    """
    half = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}; choose another folder") from None
    try:
        with workshop(folder) as inside:
            weights, text = inside / WEIGHTS_FILE, inside / CONFIG_FILE
            save_file(half, weights)
            weights.chmod(0o644)  # save_file leaves it to its owner alone
            config = {"format": FORMAT, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), **config}
            text.write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
            for path in (weights, text):  # before they take their names, and whatever they came from is removed
                to_disk(path)
            os.replace(weights, folder / WEIGHTS_FILE)
            os.replace(text, folder / CONFIG_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the weights in {folder}: {error}; free some space or choose another folder"
        ) from None


def digest_of(folder: Path) -> str:
    """The SHA-256 of a folder's weights, as its config has it."""
    return json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["sha256"]


def load_folder(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Read and check a weights folder: (constructor arguments, tensors in float32).

    Raises:
        UserError: for missing, truncated or altered files, or another format.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        with (folder / WEIGHTS_FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing: give a folder made by `t2vlearn train`, or reinstall t2vlearn"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {folder}: {error}; copy the folder again") from None
    if not isinstance(config, dict) or config.pop("format", None) != FORMAT:
        raise UserError(
            f"the weights in {folder} are of another version of t2vlearn: train again, or install that version"
        )
    if digest != config.pop("sha256", None):
        raise UserError(
            f"{folder / WEIGHTS_FILE} is damaged (its checksum differs): copy it again, or reinstall t2vlearn"
        )
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS_FILE} is no safetensors file: {error}; copy the folder again") from None
    return config, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_info(folder: Path) -> dict:
    """What a weights folder says of itself: where the weights came from."""
    return json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["info"]


def load_weights(module: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into a module.

    Raises:
        UserError: when names or shapes differ.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {folder} do not fit their config: {str(error).splitlines()[-1].strip()}; "
            "they may be of another version: train again, or install that version"
        ) from None
