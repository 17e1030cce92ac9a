"""The tables of results: every figure in the README and in docs/results is that of its file."""

import re
from pathlib import Path

import pytest

from bio_rl.viz import results

ROOT = Path(__file__).parents[2]
WRITTEN = results.pages(ROOT)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_page_is_what_its_files_of_figures_give_today(path: Path):
    assert path.read_text(encoding="utf-8") == WRITTEN[path], (
        "run python -m bio_rl.viz.results and commit what it writes"
    )


def test_another_figure_in_a_file_changes_the_front_page():
    figures = results.read(ROOT / results.FOLDER)
    row = {"what": "a", "seeds": "1", "result": "{demo[mean]:.0f}", "command": "c", "page": "p"}
    before = results.headline_row(row, figures)
    figures["demo"]["mean"] = 321.0
    assert before != results.headline_row(row, figures)
    assert "321" in results.headline_row(row, figures)


def test_a_row_of_the_readme_that_asks_for_no_figure_of_a_file_is_refused():
    row = {"what": "a", "seeds": "1", "result": "{demo[meen]}", "command": "c", "page": "p"}
    with pytest.raises(ValueError, match="meen"):
        results.headline_row(row, {"demo": {"mean": 1.0}})


def test_a_column_without_any_figure_is_refused():
    table = {"title": "A", "results": "file", "columns": "c", "command": "x"}
    with pytest.raises(ValueError, match="column 'median'"):
        list(results.table_of(table, {"median": "{medain}"}, {"case": {"median": 1.0}}))


def test_returns_of_seeds_are_listed_in_their_order():
    case = results.with_returns({"seeds": {str(i): {"mean": float(i)} for i in range(3)}})
    assert case["returns"] == "0, 1, 2"


def test_the_readme_is_short_and_so_are_its_cells():
    lines = (ROOT / results.README).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    rows = [line for line in lines if line.startswith("|")]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    assert len(rows) > 12
    assert [cell for cell in cells if len(cell) > 120] == []


def test_every_link_of_the_front_page_leads_somewhere():
    text = (ROOT / results.README).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    local = [link for link in links if "://" not in link]
    assert len(local) > 10
    assert [link for link in local if not (ROOT / link).exists()] == []
