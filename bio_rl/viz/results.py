"""`python -m bio_rl.viz.results` writes the tables of results: docs/results/*.md and the ten rows
of the README.

What stands in them is said in docs/results/tables.toml: pages of tables, a table's file of figures,
its rows and its columns. A cell is a template in Python's format syntax, which is filled with the
figures of one case, so that no figure is typed by hand: `{iqm:.5g}`, `{seeds[0][mean]:.0f}`. The
ten rows of the README take theirs from any file:
`{learning[HalfCheetah-v5/ppo/spiking][iqm]:.0f}`.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bio_rl.machine.files import replacing

FOLDER = Path("docs/results")
README = Path("README.md")
BEGIN = "<!-- results: written by python -m bio_rl.viz.results -->"
END = "<!-- end of results -->"
ABSENT = "–"
"""A cell of a case that has not this figure."""
HEADINGS = ("experiment", "seeds", "result", "how to repeat it")


def main(argv: Sequence[str] | None = None) -> None:
    """Write every page and the README's rows."""
    root = Path(*(sys.argv[1:] if argv is None else argv))
    for path, text in pages(root).items():
        with replacing(path) as file:
            file.write(text.encode())
        print(f"wrote {path}")


def pages(root: Path = Path()) -> dict[Path, str]:
    """The text of every file that this program writes, by its path in the checkout `root`.

    Raises ValueError for a template that asks for a figure that is not there.
    """
    folder = root / FOLDER
    spec = tomllib.loads((folder / "tables.toml").read_text(encoding="utf-8"))
    results = read(folder)
    written = {
        folder / page["file"]: text_of(page, spec["columns"], results) for page in spec["page"]
    }
    # The list of pages, and the ten rows of the front page.
    written[folder / "index.md"] = index(spec["page"])
    readme = root / README
    written[readme] = with_rows(readme.read_text(encoding="utf-8"), spec["headline"], results)
    return written


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The cases of every file of results, by the file's name without its ending."""
    files = sorted(folder.glob("*.json"))
    return {path.stem: cases(json.loads(path.read_text(encoding="utf-8"))) for path in files}


def cases(report: Mapping[str, Any]) -> dict[str, Any]:
    """The cases of a report; the figures themselves where a report is of one case."""
    return {
        name: with_returns(figures) if isinstance(figures, dict) else figures
        for name, figures in report["results"].items()
    }


def with_returns(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A case's figures; where it holds its seeds, with `returns`, their returns as one text."""
    if "seeds" not in figures:
        return dict(figures)
    # The mean over the episodes of one seed: seeds are independent, episodes of a seed are not.
    returns = [record["mean"] for record in figures["seeds"].values()]
    return {**figures, "returns": ", ".join(f"{x:.4g}" for x in returns)}


# Text


def text_of(
    page: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, str]],
    results: Mapping[str, Mapping[str, Any]],
) -> str:
    """A page: its title, its words, and its tables."""
    parts = [f"# {page['title']}", page["text"].strip()]
    for table in page["table"]:
        parts += table_of(table, columns[table["columns"]], results[table["results"]])
    return "\n\n".join([*parts, FOOT]) + "\n"


FOOT = """This page is written by `python -m bio_rl.viz.results` from the files that it names; \
each holds the commit, the processor and the versions with which it was measured."""


def table_of(
    table: Mapping[str, Any], columns: Mapping[str, str], figures: Mapping[str, Any]
) -> Iterable[str]:
    """The parts of one table: its heading, its words, the command that makes it, and its rows."""
    yield f"## {table['title']}"
    if "text" in table:
        yield table["text"].strip()
    yield f"```sh\n{table['command'].strip()}\n```"
    # Name in the table: case in the file.
    rows = table.get("rows") or {name: name for name in figures}
    unknown = [case for case in rows.values() if case not in figures]
    if unknown:
        raise ValueError(f"{table['results']}.json has no case {unknown[0]!r}")
    cells = [[filled(form, figures[case]) for form in columns.values()] for case in rows.values()]
    # A case may lack a figure; a column without any figure is a misspelt template.
    for heading, column in zip(columns, zip(*cells, strict=True), strict=True):
        if set(column) == {ABSENT}:
            raise ValueError(f"{table['results']}.json has no figure for the column {heading!r}")
    lines = [[escaped(name), *cell] for name, cell in zip(rows, cells, strict=True)]
    yield markdown(["", *columns], lines)
    yield f"Figures: [{table['results']}.json]({table['results']}.json)"


def filled(form: str, figures: Mapping[str, Any]) -> str:
    """A template with its figures; ABSENT where one of them is not there."""
    try:
        return form.format_map(figures)
    except (KeyError, IndexError, TypeError):
        return ABSENT


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with the first column to the left and the others to the right."""
    lines = [
        "| " + " | ".join(headings) + " |",
        "|---|" + "---:|" * (len(headings) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def escaped(name: str) -> str:
    """A name that may hold the letters by which Markdown separates cells."""
    return name.replace("|", r"\|")


def index(pages: Iterable[Mapping[str, Any]]) -> str:
    """The page that lists the others."""
    links = [f"- [{page['title']}]({page['file']})" for page in pages]
    return "\n".join(["# Results", "", *links, "", FOOT, ""])


# The front page


def with_rows(
    readme: str, headline: Iterable[Mapping[str, str]], results: Mapping[str, Any]
) -> str:
    """The README with its rows of results, between the two marks, written anew."""
    # What people wrote before and after the two marks stays as it is.
    before, mark, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"README.md has no section between {BEGIN} and {END}")
    rows = [headline_row(row, results) for row in headline]
    head = "| " + " | ".join(HEADINGS) + " |\n|---|---:|---|---|"
    return "\n".join([before + BEGIN, head, *rows, END + after])


def headline_row(row: Mapping[str, str], results: Mapping[str, Any]) -> str:
    """One row: what was measured, over how many seeds, the result, and how to measure it again."""
    try:
        # str.format finds its way: {file[case][figure]}.
        seeds, result = (row[name].format_map(results) for name in ("seeds", "result"))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"a row of the README asks for {error}: {row['result']}") from error
    link = f"[{row['what']}](docs/results/{row['page']}.md)"
    return f"| {link} | {seeds} | {result} | `{row['command']}` |"


if __name__ == "__main__":
    main()
