"""What a stopped run goes on from: one safetensors file with a checksum, and the one before it. Nothing here reads a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2vlearn.errors import UserError
from t2vlearn.files import to_disk
from t2vlearn.storage import WORKSHOP, workshop

LATEST, PREVIOUS = "checkpoint.safetensors", "checkpoint-previous.safetensors"


def exists(folder: Path) -> bool:
    """Whether there is anything to go on from."""
    return any((folder / name).exists() for name in (LATEST, PREVIOUS))


def check(folder: Path) -> None:
    """Refuse to go on from nothing.

    Raises:
        UserError: if there is no checkpoint.
    """
    if not exists(folder):
        raise UserError(f"there is no {folder / LATEST} to resume from: leave --resume out")


def remove(folder: Path) -> None:
    """A run that is over needs none."""
    for name in (PREVIOUS, LATEST):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / WORKSHOP, ignore_errors=True)  # of a process that was killed


def write(folder: Path, tensors: dict[str, Tensor], recipe: str, position: dict[str, Any]) -> Path:
    """Write everything that a resumed run needs. The file appears whole or not at all; the last one stays as the previous.

    Args:
        folder: the run's.
        tensors: by flat names.
        recipe: what makes it this run and no other.
        position: where the run stands.

    Raises:
        UserError: for a full disk or a folder that cannot be written to.
    """
    # Tensors that share memory (the task holds modules of the pipeline) are written once each.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    metadata = {"recipe": recipe, "position": json.dumps(position)}
    try:
        with workshop(folder) as inside:
            save_file(own, inside / LATEST, metadata | {"sha256": _digest(own, metadata)})
            to_disk(inside / LATEST)  # before it takes the name: else a power cut could leave both names with nothing
            if (folder / LATEST).exists():
                os.replace(folder / LATEST, folder / PREVIOUS)
            os.replace(inside / LATEST, folder / LATEST)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the checkpoint in {folder}: {error}; free some space or choose another folder"
        ) from None
    return folder / LATEST


def read(folder: Path, recipe: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, position) of the last checkpoint, or of the one before where the last is damaged, with a warning.

    Raises:
        UserError: if there is none, none is whole, or it is of another run.
    """
    check(folder)
    damage = []
    for path in (folder / LATEST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            tensors, metadata = _read_file(path)
            position = json.loads(metadata["position"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            damage.append(f"{path} is damaged ({error})")
            continue
        if metadata.get("recipe") != recipe:
            raise UserError(
                f"{path} is of another run (preset, length, seed, weights or data differ): repeat its settings, or choose "
                "another folder with --out"
            )
        if damage:
            warnings.warn(f"{damage[0]}: going on from the checkpoint before it", stacklevel=2)
        return tensors, position
    raise UserError(f"{damage[0]}: choose another folder with --out to start again")


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if metadata.pop("sha256", None) != _digest(tensors, metadata):
        raise SafetensorError("its checksum differs")
    return tensors, metadata


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of names, shapes, values and metadata: a flipped bit anywhere shows."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).numpy().data)
    return digest.hexdigest()
