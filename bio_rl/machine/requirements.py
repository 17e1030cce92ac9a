"""What this package and its extras declare to need, and what of it is missing here."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement  # gymnasium[mujoco] needs it too, so it is there

PROJECT = "bio-rl"


def declared() -> dict[str, list[Requirement]]:
    """{extra: its requirements}, "" for those of every install. A checkout's pyproject.toml is
    newer than its metadata.
    """
    path = Path(__file__).parents[2] / "pyproject.toml"
    if path.is_file():
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        texts = {"": project["dependencies"], **project["optional-dependencies"]}
        return {extra: [Requirement(text) for text in lines] for extra, lines in texts.items()}
    extras = importlib.metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    return {extra: parts(PROJECT, extra) for extra in ("", *extras)}


def parts(distribution: str, extra: str) -> list[Requirement]:
    """What an installed distribution asks for in one of its extras, "" for what it asks for always,
    on this platform.
    """
    found = []
    for text in importlib.metadata.requires(distribution) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if (
            always
            if not extra
            else not always and marker is not None and marker.evaluate({"extra": extra})
        ):
            requirement.marker = None  # evaluated just now
            found.append(requirement)
    return found


def faults(requirement: Requirement) -> list[str]:
    """What is wanting of a requirement, its extras included, in words; [] where it is met or not
    asked for on this platform.
    """
    if requirement.marker is not None and not requirement.marker.evaluate():
        return []
    if requirement.name == PROJECT:  # as in bio-rl[video,plots]
        return [
            fault
            for extra in sorted(requirement.extras)
            for part in declared()[extra]
            for fault in faults(part)
        ]
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return [f"{requirement.name} is not installed"]
    if not requirement.specifier.contains(version, prereleases=True):
        return [f"{requirement.name} is {version}, expected {requirement.specifier}"]
    extras = sorted(requirement.extras)
    return [
        fault
        for extra in extras
        for part in parts(requirement.name, extra)
        for fault in faults(part)
    ]
