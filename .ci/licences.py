"""Print the licence of everything that the installed package needs at run time: `python .ci/licences.py`. It only reports."""

import re
from importlib.metadata import PackageNotFoundError, metadata, requires

from packaging.requirements import Requirement


def needed(name: str, found: dict[str, str]) -> None:
    """Add the licence of `name`, and of what it needs here, to `found`."""
    try:
        about = metadata(name)
    except PackageNotFoundError:  # needed on another kind of machine, or optional
        return
    if about["Name"] in found:
        return
    classes = [text.rpartition(":: ")[2] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    text = about.get("License-Expression") or ", ".join(classes) or about.get("License") or "says nothing"
    found[about["Name"]] = re.sub(r"\s+", " ", text)[:60]
    for line in requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, found)


if __name__ == "__main__":
    licences: dict[str, str] = {}
    needed("t2vlearn", licences)
    for name, text in sorted(licences.items(), key=lambda row: row[0].lower()):
        print(f"{name:28} {text}")
