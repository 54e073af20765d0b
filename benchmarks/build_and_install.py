"""Build, install, run and test the package: `python benchmarks/build_and_install.py [--python python3.12 ...] [--lowest]`

Builds sdist and wheel, looks at what is in them, installs the wheel into a new environment for each Python and makes a clip
there, outside the repository. --lowest installs the oldest versions that pyproject.toml allows, in the first Python, and runs
the sdist's tests with them. (On Linux, where an index has no CPU build of torch for a Python, pip takes several GB.) Prints a
table and adds to benchmarks/results/packaging.json.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "packaging.json"
MOST = 25e6  # bytes of a wheel
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TORCH = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
#: What takes seconds and needs none of the extras.
TESTS = (
    "attention codec config costs denoiser diffusion files film judge long media motion optim pipeline plots "
    "stages storage text video visual"
)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; ends everything where it fails. It knows nothing of this repository."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment_with(python: str, folder: Path, *packages: str | Path) -> Path:
    """A new environment's folder of programs."""
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return folder / "bin"


def inside(wheel: Path, sdist: Path) -> str:
    """Refuse a wheel with other things than the package, and an sdist without what building and testing need."""
    names = zipfile.ZipFile(wheel).namelist()
    own = subprocess.run(["git", "ls-files", "t2vlearn"], cwd=ROOT, text=True, capture_output=True, check=True)
    assert {name for name in names if ".dist-info/" not in name} == set(own.stdout.split()), "not the package's files"
    assert wheel.stat().st_size <= MOST, f"the wheel has {wheel.stat().st_size / 1e6:.1f} MB"
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "tests/conftest.py",
        "benchmarks/second_judge.py",
        *own.stdout.split(),
    }
    assert needed <= packed and not any(name.startswith("tests/book") for name in packed), needed - packed
    return f"wheel {wheel.stat().st_size / 1e6:.1f} MB, {len(names)} files; sdist {sdist.stat().st_size / 1e6:.1f} MB"


def clip(programs: Path, folder: Path) -> str:
    """Make a clip with an installed package, in an empty folder."""
    folder.mkdir()
    run(programs / "pip", "check")
    run(programs / "t2vlearn", "generate", "a red star", "-o", "x.mp4", cwd=folder)
    where = run(programs / "python", "-c", "import t2vlearn; print(t2vlearn.__file__)", cwd=folder)
    assert str(programs.parent) in where, where
    assert sorted(path.name for path in folder.iterdir()) == ["x-keyframes.png", "x.mp4"]
    return f"x.mp4 of {(folder / 'x.mp4').stat().st_size} bytes"


def lowest() -> list[str]:
    """name==lowest version of everything that the package needs."""
    return [line.replace(">=", "==") for line in PROJECT["dependencies"]]


def main() -> None:
    """Do it all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters to install into")
    parser.add_argument("--lowest", action="store_true", help="also test with the lowest versions")
    options = parser.parse_args()
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else {}

    def note(what: str, since: float, result: str) -> None:
        rows[what] = {"result": result, "seconds": round(time.monotonic() - since)}
        print(f"{what:34} {rows[what]['seconds']:5} s  {result}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        since = time.monotonic()
        tools = environment_with(sys.executable, folder / "tools", "build", "twine")
        run(tools / "python", "-m", "build", "-o", folder / "dist", ROOT)
        (wheel,), (sdist,) = (list((folder / "dist").glob(kind)) for kind in ("*.whl", "*.tar.gz"))
        note("build", since, inside(wheel, sdist))
        since = time.monotonic()
        run(tools / "twine", "check", "--strict", wheel, sdist)
        note("twine check --strict", since, "passed")
        for number, python in enumerate(options.python):
            since = time.monotonic()
            place = folder / f"python-{number}"
            programs = environment_with(python, place, "-c", ROOT / "constraints.txt", TORCH, wheel)
            version = run(programs / "python", "-c", "import platform; print(platform.python_version())").strip()
            note(f"install and generate, Python {version}", since, clip(programs, folder / f"clip-{number}"))
            shutil.rmtree(place)
        if options.lowest:
            since = time.monotonic()
            programs = environment_with(
                options.python[0], folder / "lowest", *lowest(), "pytest", "hypothesis", "packaging", wheel
            )
            clip(programs, folder / "clip-lowest")
            run("tar", "-xzf", sdist, "-C", folder)
            source = next(folder.glob("t2vlearn-*"))
            shutil.rmtree(source / "t2vlearn")  # what is tested is what is installed
            tests = [source / "tests" / "world", *(source / "tests" / f"test_{name}.py" for name in TESTS.split())]
            told = run(programs / "pytest", "-q", "-o", "addopts=--import-mode=importlib", *tests, cwd=source)
            note("tests with the lowest versions", since, told.strip().splitlines()[-1])
    rows["machine"] = {"system": platform.platform(), "python": platform.python_version()}
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
