"""Requirements that this package and its extras declare, and what of them is missing here."""

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
    """Requirements of an installed distribution in one of its extras, "" for those of every
    install, on this platform.
    """
    needed = []
    for text in importlib.metadata.requires(distribution) or []:
        requirement = Requirement(text)
        if _is_of(requirement, extra):
            # It was evaluated just now.
            requirement.marker = None
            needed.append(requirement)
    return needed


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is of this extra alone; "" for one of every install."""
    marker = requirement.marker
    always = marker is None or marker.evaluate({"extra": ""})
    if not extra:
        return always
    return not always and marker is not None and marker.evaluate({"extra": extra})


def faults(requirement: Requirement) -> list[str]:
    """The words for what a requirement, its extras included, lacks; [] where it is met or is none
    on this platform.
    """
    if requirement.marker is not None and not requirement.marker.evaluate():
        return []
    extras = sorted(requirement.extras)
    # The extra dev asks for bio-rl[video,plots].
    if requirement.name == PROJECT:
        asked = declared()
        return _faults_of([part for extra in extras for part in asked[extra]])
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return [f"{requirement.name} is not installed"]
    if not requirement.specifier.contains(version, prereleases=True):
        return [f"{requirement.name} is {version}, expected {requirement.specifier}"]
    return _faults_of([part for extra in extras for part in parts(requirement.name, extra)])


def _faults_of(requirements: list[Requirement]) -> list[str]:
    return [fault for requirement in requirements for fault in faults(requirement)]
