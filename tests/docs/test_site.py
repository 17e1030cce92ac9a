"""The site as `make docs` has built it: every public name is on it, every link leads somewhere, and
nothing is fetched from elsewhere.
"""

from __future__ import annotations

import ast
import importlib.util
import posixpath
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site" / "html"
LOADED = {"img", "script", "link", "iframe", "source", "video"}
"""Elements whose target a browser fetches by itself."""

pytestmark = pytest.mark.site


class Html(HTMLParser):
    """The links of a page, with their elements, and the names that links to it may have."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element leads to, and what it is called."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append((tag, value))
            if name in ("id", "name") and value:
                self.names.add(value)


@cache
def html(page: Path) -> Html:
    """A page, read once."""
    return Html(page)


def site_pages() -> list[Path]:
    """Every page; AssertionError where there is none."""
    found = sorted(SITE.rglob("*.html"))
    assert found, f"there is no site in {SITE}; `make docs` builds it"
    return found


def hook() -> ModuleType:
    """The program that adds pages to the site."""
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs" / "hooks" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Names


def public_names() -> Iterator[str]:
    """Every public class and function of the library by its full name, and those of its classes."""
    for folder in ("bio_rl", "envs", "agents"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = ("bio_rl", *parts) if parts[0] != "bio_rl" else parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if not any(part.startswith("_") for part in parts):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                yield ".".join(parts)
                yield from defined(tree.body, ".".join(parts))


def defined(body: list[ast.stmt], place: str) -> Iterator[str]:
    """The public classes, functions and methods of a body, in full."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{place}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from defined(node.body, f"{place}.{node.name}")


def test_every_public_name_is_on_the_pages_of_the_api() -> None:
    named = set().union(*(html(page).names for page in SITE.glob("api/*.html")))
    missing = sorted(set(public_names()) - named)
    assert not missing, f"{len(missing)} names are missing: {missing[:20]}"


def test_the_inventory_names_what_the_pages_name() -> None:
    from mkdocstrings import Inventory

    with (SITE / "objects.inv").open("rb") as file:
        inventory = Inventory.parse_sphinx(file)
    missing = sorted(set(public_names()) - set(inventory))
    assert not missing, f"{len(missing)} names are missing: {missing[:20]}"


# Links


def test_every_link_leads_to_a_page_and_a_place_on_it() -> None:
    dead = []
    for page in site_pages():
        for _, target in html(page).links:
            path, _, name = unquote(target).partition("#")
            if path.partition(":")[2] or path.startswith("/"):
                continue  # of the web, or the front page as a missing page sees it
            place = page if not path else Path(posixpath.normpath(page.parent / path))
            place = place / "index.html" if place.is_dir() else place
            exists = place.is_file()
            if not exists or (name and place.suffix == ".html" and name not in html(place).names):
                dead.append(f"{page.relative_to(SITE)}: {target}")
    assert not dead, f"{len(dead)} links are dead: {dead[:20]}"


def test_a_browser_fetches_nothing_from_elsewhere() -> None:
    for page in site_pages():
        fetched = [target for tag, target in html(page).links if tag in LOADED]
        assert not [target for target in fetched if target.startswith(("http:", "https:", "//"))]


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("[a](../../bio_rl/neurons/lif.py)", "[a](../api/neurons.md#bio_rl.neurons.lif)"),
        ("[a](../../agents/__init__.py)", "[a](../api/agents.md#bio_rl.agents)"),
        ("[a](../../bio_rl/plasticity/_rule.py)", "[a](../api/plasticity.md)"),
        ("[a](../../README.md#start)", "[a](../index.md#start)"),
        ("[a](../../SECURITY.md)", "[a](../about/security.md)"),
        ("[a](world.md)", "[a](world.md)"),
        ("[`a`](../../LICENSE) b", "`a` b"),
        ("`[a](b.md)` [a](https://b.org) [a](#b)", "`[a](b.md)` [a](https://b.org) [a](#b)"),
    ],
)
def test_a_link_of_the_checkout_becomes_one_of_the_site(link: str, place: str) -> None:
    assert hook().with_links(link, "docs/how-to/rule.md", "how-to/rule.md") == place


def test_a_star_in_the_navigation_stands_for_pages_that_nobody_named() -> None:
    nav = [{"A": ["a/index.md", "a/*.md"]}, "b.md"]
    pages = ["a/index.md", "a/x.md", "a/y.md", "b.md"]
    found = hook().expanded(nav, pages, {"a/index.md", "b.md"})
    assert found == [{"A": ["a/index.md", "a/x.md", "a/y.md"]}, "b.md"]
