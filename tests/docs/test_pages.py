"""The code of the how-to pages runs as it stands on them, with fewer steps."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

from bio_rl import discovery
from bio_rl.__main__ import main
from tests.docs import pages

PAGES = sorted(path.relative_to(pages.DOCS).as_posix() for path in pages.DOCS.glob("how-to/*.md"))
MINUTES = {"how-to/compare.md"}
"""Pages whose commands start a process for each training."""
WITH_CODE = [
    pytest.param(page, marks=pytest.mark.thorough if page in MINUTES else ())
    for page in PAGES
    if list(pages.blocks(page))
]
LONGEST = 100
"""Lines of the longest file that a page may ask for: adding a part is short, or it is not easy."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder whose modules are imported by their names, and forgotten after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discovery, "_allowed", set())
    before = set(sys.modules)
    ids = set(gym.registry)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]
    for name in set(gym.registry) - ids:
        del gym.registry[name]


@pytest.mark.parametrize("page", WITH_CODE)
def test_all_code_of_a_page_runs(page: str, folder: Path) -> None:
    pages.write(page, folder)
    assert list(pages.commands(page)) or pages.snippets(page)
    pages.run(page, main)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_tells_to_save_each_file_that_it_shows_and_no_long_one(page: str) -> None:
    text = (pages.DOCS / page).read_text(encoding="utf-8")
    for name, source in pages.files(page).items():
        assert re.search(rf"[Ss]ave\s+(this|it)\s+as\s+`{re.escape(name)}`", text)
        assert len(source.splitlines()) <= LONGEST
        assert max(len(line) for line in source.splitlines()) <= 100
