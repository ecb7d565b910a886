"""Wheels of what is installed here, so that an image can be built without a network."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

_LEFT_OUT = ("INSTALLER", "REQUESTED", "direct_url.json")


def needed(name: str, extras: tuple[str, ...] = ("",)) -> dict[str, metadata.Distribution]:
    """What a package depends on, by name, itself not included."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        for line in metadata.requires(waiting.pop()) or []:
            requirement = Requirement(line)
            if requirement.marker is not None and not any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            ):
                continue
            if requirement.name not in found:
                found[requirement.name] = metadata.distribution(requirement.name)
                waiting.append(requirement.name)
    return found


def pack(found: metadata.Distribution, folder: Path) -> Path:
    """The wheel of an installed package; programs of its own are made anew from its entry points."""
    tags = [line[5:] for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    name = found.metadata["Name"].replace("-", "_")
    path = folder / f"{name}-{found.version}-{tags[-1]}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or []:
            inside = str(file)
            if inside.startswith("..") or inside.endswith(".pyc") or file.name in _LEFT_OUT:
                continue
            archive.write(str(file.locate()), inside)
    return path
