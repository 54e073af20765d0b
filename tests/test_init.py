"""Importing the package costs nothing until something of it is used."""

import subprocess
import sys

import pytest

import t2vlearn

HEAVY = ("torch", "numpy", "transformers", "huggingface_hub", "accelerate", "matplotlib", "imageio", "PIL", "typer")


def test_nothing_heavy_is_imported_with_the_package():
    code = f"import sys, t2vlearn; dir(t2vlearn); print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", t2vlearn.__all__)
def test_every_public_name_is_there(name):
    assert getattr(t2vlearn, name).__name__ == name


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        t2vlearn.nonsense  # noqa: B018
