"""The list of presets: which rows it has, and that its scores are those of the result files."""

import json
from pathlib import Path

import pytest

from bio_rl import __main__ as cli
from bio_rl.viz import presetbook

RESULTS = Path(__file__).parents[2] / presetbook.RESULTS


def test_the_installed_scores_are_those_of_the_result_files():
    found = presetbook.scores(RESULTS)
    assert presetbook.read() == found, "write them anew: python -m bio_rl.viz.presetbook"


@pytest.fixture
def folder(tmp_path):
    """Result files: a case with flags, one of another length, and one in two files."""

    def case(n: int, iqm: float, steps: int = 60_000) -> dict:
        figures = {"n": n, "iqm": iqm, "min": iqm - 1, "seconds_median": 90.0, "steps": steps}
        seeds = {str(i): {"side_by_side": 2} for i in range(n)}
        return {**figures, "setting": {"run": {"steps": steps}}, "seeds": seeds}

    files = {
        "a": {"CartPole-v1/ppo/mlp": case(3, 5.0), "CartPole-v1/ppo/mlp --neuron alif": case(9, 0)},
        "b": {"CartPole-v1/ppo/mlp": case(5, 7.0), "mean over environments": {"ratio": 1}},
        "c": {"CartPole-v1/ppo/spiking": case(5, 7.0, steps=50_000)},
    }
    for name, results in files.items():
        text = json.dumps({"bench": "learning", "results": results})
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "d.json").write_text('{"bench": "neurons", "results": {}}')
    return tmp_path


def test_a_score_is_of_the_most_seeds_of_a_case_without_flags_that_is_as_long_as_its_preset(folder):
    assert presetbook.scores(folder) == {
        "CartPole-v1/ppo/mlp": {
            "iqm": 7.0,
            "least": 6.0,
            "seeds": 5,
            "minutes": 1.5,
            "at_once": 2,
            "steps": 60_000,
            "file": "b.json",
        }
    }


def test_the_list_has_every_preset_and_says_where_nothing_was_measured(capsys):
    cli.main(["list", "presets"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    score = presetbook.read()["CartPole-v1/three_factor/cells"]
    [row] = [line for line in lines if line[:4] == ["CartPole-v1", "cells", "75,000", "150"]]
    assert row[4:7] == [f"{score['iqm']:.4g}", f"{score['least']:.4g}", str(score["seeds"])]
    assert ["WaterMaze-v0", "cells", "1,000,000"] in lines
    assert not any("*" in word for line in lines for word in line)
