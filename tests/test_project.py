"""The files around the package agree with each other."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(text) for text in texts] for name, texts in PROJECT["project"]["optional-dependencies"].items()
}
MUTANTS = runpy.run_path(str(ROOT / "tests" / "mutants.py"))["MUTANTS"]
CONDA_NAMES = {"pytorch": "torch"}  # where conda-forge calls a package by another name


def _lock() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(set(names)) == len(names), "a package stands in constraints.txt twice"
    return dict(zip(names, (version for _, version in pairs)))


def _environment() -> dict[str, str]:
    """Name -> version of what environment.yml asks for, by conda or by pip, under pip's names."""
    rows = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [row.split("=") for row in rows if isinstance(row, str) and row != "pip"]
    by_pip = [row for entry in rows if isinstance(entry, dict) for row in entry["pip"] if not row.startswith("-")]
    return {canonicalize_name(CONDA_NAMES.get(name, name)): version for name, version in conda} | {
        canonicalize_name(name): version for name, version in (row.split("==") for row in by_pip)
    }


@pytest.mark.parametrize("requirement", [*BASE, *(r for extra in EXTRAS.values() for r in extra)], ids=str)
def test_lock_pins_what_pyproject_asks_for(requirement):
    pinned = _lock()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_lock_fits_every_machine():
    lock = _lock()
    assert not [version for version in lock.values() if "+" in version], "a pin names one kind of build"
    assert not {"pip", "setuptools", "wheel", "t2vlearn"} & lock.keys()


def test_environment_has_the_pins_of_the_lock():
    lock, environment = _lock(), _environment()
    python = environment.pop("python")
    assert PROJECT["project"]["requires-python"] == f">={python}"
    assert environment == {name: lock.get(name) for name in environment}
    needed = {canonicalize_name(r.name) for r in [*BASE, *EXTRAS["book"], *EXTRAS["test"], *EXTRAS["lint"]]}
    assert environment.keys() == needed


def test_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    source = (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text()
    version = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', source, re.MULTILINE)[1]
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text()


def test_pre_commit_and_make_run_the_same_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    tools = {hook["entry"].removeprefix(".venv/bin/").removesuffix(" --fix") for hook in hooks}
    assert all(f"$(BIN)/{tool}" in recipe for tool in tools) and len(tools) == recipe.count("$(BIN)/")


@pytest.mark.parametrize("module", MUTANTS)
def test_what_mutants_break_stands_in_the_code_once(module):
    text = (ROOT / "t2vlearn" / f"{module}.py").read_text()
    assert [old for old, _ in MUTANTS[module] if text.count(old) != 1] == []


def test_the_list_of_benchmarks_names_each_once():
    rows = re.findall(r"^\| `(\w+\.py)` \|", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))
