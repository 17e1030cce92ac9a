"""Adds to the site what docs/ has no files for: pages that are generated, and links that are led to
where their targets lie on the site.

- A page of the API for each family of parts, from the folders of bio_rl, envs and agents.
- Pages of files that lie beside docs/ (README.md is the first page), and of notebooks.
- A link to a source file, right in a checkout, leads to that file's documentation on the site.
- A `*` in the navigation stands for the pages there that are not named by themselves.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = get_plugin_logger(__name__)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "site" / "package"
"""Where bio_rl lies as in the wheel, envs and agents within it."""
BESIDE = {
    "index.md": "README.md",
    "about/contributing.md": "CONTRIBUTING.md",
    "about/changelog.md": "CHANGELOG.md",
    "about/security.md": "SECURITY.md",
    "about/conduct.md": "CODE_OF_CONDUCT.md",
}
"""Pages that are made of files beside docs/."""
FAMILIES = {
    "run": "From Python",
    "contracts": "Contracts, and what lies beside them",
    "agents": "Agents",
    "networks": "Networks",
    "neurons": "Neurons",
    "connections": "Connections",
    "codes": "Codes",
    "plasticity": "Plasticity rules",
    "modulators": "Neuromodulators",
    "worlds": "Worlds",
    "vector": "Bases of worlds, and batches of them",
    "rl": "Parts of agents",
    "training": "Training",
    "sweeps": "Many trainings",
    "energy": "Energy",
    "kernels": "Kernels",
    "viz": "Pictures",
    "testing": "Checks for your own parts",
    "bench": "Measurements",
    "cli": "Commands",
    "machine": "The machine",
}
"""The title of each page of the API; it is made of the folder of its name, or of `PLACES`."""
PLACES = {"worlds": "envs"}
"""Folders that have another name than their page."""
WITH_SOURCE = ("agents", "networks", "neurons", "connections", "codes", "plasticity", "modulators")
"""Pages that show the source of each function, where one wants to tick off its equation."""
FRONT = ("bio_rl", "bio_rl.run")
"""Modules of the page `run`; all others that lie in bio_rl itself are on the page `contracts`."""
FENCE = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)"
LINK = re.compile(rf"{FENCE}|`[^`\n]+`|\]\((?P<target>[^)\s]+)\)", re.DOTALL | re.MULTILINE)
"""A block of code, code in a line, or a link, of which only the last has a target."""
NO_PAGE = "](no-page)"
WORDS = re.compile(r"!?\[([^\]\[]*)\]\(no-page\)")
"""A link, or a picture, without a page."""


# The package


def on_startup(command: str, dirty: bool) -> None:
    """Lay the package out as in the wheel, before anything looks for it there."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for folder, place in (("bio_rl", ""), ("envs", "envs"), ("agents", "agents")):
        others = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, PACKAGE / "bio_rl" / place, ignore=others)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The configuration with the navigation in full."""
    pages = sorted({*_committed(Path(config.docs_dir)), *_notebooks(), *BESIDE, *_api_pages()})
    config.nav = expanded(config.nav or [], pages, set(_named(config.nav or [])))
    return config


def _committed(docs: Path) -> Iterator[str]:
    """The pages that lie in docs/ as they are."""
    for path in docs.rglob("*.md"):
        yield path.relative_to(docs).as_posix()


def _notebooks() -> Iterator[str]:
    """The pages that are made of notebooks."""
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        yield f"notebooks/{path.stem}.md"


def _api_pages() -> Iterator[str]:
    """The pages of the API."""
    for family in FAMILIES:
        yield f"api/{family}.md"


def _named(nav: Any) -> Iterator[str]:
    """Every page that a navigation names in full."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(item)


def expanded(nav: Any, pages: list[str], named: set[str]) -> Any:
    """The navigation with `*` replaced by the pages that it means and that are not `named`."""
    if isinstance(nav, dict):
        return {title: expanded(item, pages, named) for title, item in nav.items()}
    if isinstance(nav, str):
        return nav
    found = []
    for item in nav:
        if isinstance(item, str) and "*" in item:
            found += [page for page in pages if fnmatch(page, item) and page not in named]
        else:
            found.append(expanded(item, pages, named))
    return found


# Pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files with the generated pages among them."""
    for page, source in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for family in FAMILIES:
        files.append(File.generated(config, f"api/{family}.md", content=api_page(family)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for name, content in notebook_page(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def modules(family: str) -> list[str]:
    """The public modules of a page of the API, the package itself first."""
    if family == "run":
        return list(FRONT)
    if family == "contracts":
        loose = sorted((ROOT / "bio_rl").glob("*.py"))
        return [name for name in _public(loose, ROOT) if name not in FRONT]
    place = PLACES.get(family, family)
    root = ROOT if place in ("envs", "agents") else ROOT / "bio_rl"
    return list(_public(sorted((root / place).rglob("*.py")), root, "bio_rl."))


def _public(paths: Iterable[Path], root: Path, prefix: str = "") -> Iterator[str]:
    """The names of modules, packages under their own; those that begin with _ are left out."""
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            yield prefix + ".".join(parts)


def api_page(family: str) -> str:
    """A page that documents the modules of a family, one after another."""
    options = "" if family in WITH_SOURCE else "\n    options: {show_source: false}"
    parts = [f"::: {name}{options}" for name in modules(family)]
    return "\n\n".join([f"# {FAMILIES[family]}", *parts, ""])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its sources named as in the checkout."""
    return html.replace("site/package/bio_rl/agents/", "agents/").replace("site/package/", "")


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """The page of a notebook with its pictures, by the names of their files."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(path))
    pictures = {f"{path.stem}_{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        # With a scheme, as an address has one: it is no file of the checkout.
        text = text.replace(f"]({name})", f"](picture:{path.stem}_{name})")
    text = with_links(text, f"docs/notebooks/{path.name}", f"notebooks/{path.stem}.md")
    text = text.replace("](picture:", "](")
    download = f'<a href="{path.name}" download>The notebook itself</a>'
    return {f"{path.stem}.md": f"{text}\n\n{download}\n", **pictures}


# Links


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with its links as they are on the site."""
    here = page.file.src_uri
    if page.file.generated_by and here not in BESIDE:
        return markdown
    return with_links(markdown, BESIDE.get(here, f"docs/{here}"), here)


def with_links(markdown: str, origin: str, here: str) -> str:
    """A text of the file `origin` of the checkout whose links are right on the page `here`; a link
    to a file that the site does not have is replaced by its words.
    """

    def led(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        place = placed(posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)))
        if place is None:
            return NO_PAGE
        page, _, part = place.partition("#")
        below = posixpath.relpath(page, posixpath.dirname(here) or ".")
        return f"]({below}{'#' if part or hash_ else ''}{anchor or part})"

    return WORDS.sub(r"\1", LINK.sub(led, markdown))


def placed(path: str) -> str | None:
    """The page of a file of the checkout, with an anchor where it is part of a page; None for a
    file that has none. A file that does not exist is a warning.
    """
    if not (ROOT / path).exists():
        log.warning("there is no %s, to which a page has a link", path)
        return None
    pages = {source: page for page, source in BESIDE.items()}
    if path in pages:
        return pages[path]
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        return inside.removesuffix(".ipynb") + ".md" if inside.endswith(".ipynb") else inside
    return documented(path)


def documented(path: str) -> str | None:
    """The place of a source file, or of a folder of them, on the pages of the API."""
    parts = [
        part for part in Path(path).with_suffix("").parts if part not in ("bio_rl", "__init__")
    ]
    module = ".".join(["bio_rl", *parts])
    for family in FAMILIES:
        if module in modules(family):
            return f"api/{family}.md#{module}"
    # A helper has no place of its own, but its family has.
    family = next((f for f in FAMILIES if parts and PLACES.get(f, f) == parts[0]), None)
    return None if family is None else f"api/{family}.md"
