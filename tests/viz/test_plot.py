"""`train.py plot`: which runs become one curve, what the curve is, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bio_rl.__main__ import main
from bio_rl.training import config, runfolder
from bio_rl.viz import curves, plot


def write(parent: Path, env: str, network: str, seed: int, values: list[float], **settings) -> Path:
    """A run folder as a training leaves it: values are the returns at steps 100, 200, …"""
    folder = runfolder.create(parent, env, "ppo", network, seed)
    runfolder.point_latest(folder)
    experiment = config.experiment(
        env, "ppo", network, network_settings=settings, seed=seed, run_dir=parent
    )
    runfolder.write_config(folder, experiment.as_dict())
    rows = [
        {"step": 100 * (i + 1), "time": 0.0, curves.RETURN: value} for i, value in enumerate(values)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def parent(tmp_path) -> Path:
    for seed in (0, 1, 2):
        write(tmp_path, "CartPole-v1", "mlp", seed, [10.0 * seed, 20.0 * seed, 30.0 * seed])
    write(tmp_path, "CartPole-v1", "spiking", 0, [1.0, 2.0])
    write(tmp_path, "CartPole-v1", "spiking", 1, [1.0, 2.0], ticks=8)
    write(tmp_path, "bio_rl/Hopper-v5", "mlp", 0, [5.0, 6.0])
    return tmp_path


def test_seeds_are_one_curve_settings_another_and_environments_are_panels(parent):
    found = plot.panels(plot.find([str(parent)], Path("runs")))
    assert found.keys() == {"CartPole-v1", "Hopper-v5"}
    sizes = {label: len(folders) for label, folders in found["CartPole-v1"].items()}
    assert sizes == {"ppo mlp": 3, "ppo spiking, ticks 4": 1, "ppo spiking, ticks 8": 1}
    assert list(found["Hopper-v5"]) == ["ppo mlp"]


def test_a_curve_is_the_interquartile_mean_of_its_seeds_on_the_steps_that_all_have():
    steps = np.array([100.0, 200.0, 300.0])
    seeds = [(steps, np.full(3, x)) for x in (-1000.0, 1.0, 2.0, 3.0, 1000.0)]
    seeds[2] = (steps[:2], np.array([2.0, 2.0]))  # this one was stopped at 200
    curve = curves.together(seeds)
    assert curve.steps[0] == 100 and curve.steps[-1] == 200
    assert np.allclose(curve.middle, 2.0)  # the best and the worst of five are left out
    assert (curve.low < 2.0).all() and (curve.high > 2.0).all() and (curve.low >= -1000).all()


def test_values_between_logged_steps_are_interpolated_and_one_seed_has_no_interval():
    curve = curves.together([(np.array([0.0, 199.0]), np.array([0.0, 199.0]))])
    assert np.allclose(curve.middle, curve.steps) and len(curve.steps) == curves.GRID
    assert np.array_equal(curve.low, curve.high)


def test_seeds_without_a_common_step_have_no_curve():
    seeds = [(np.array([1.0, 2.0]), np.zeros(2)), (np.array([3.0, 4.0]), np.zeros(2))]
    assert all(len(part) == 0 for part in curves.together(seeds))


def test_runs_are_named_by_folder_name_parent_or_latest_and_each_counts_once(parent):
    newest = plot.find(["latest"], parent)
    assert len(newest) == 1 and "Hopper" in newest[0].name
    assert (
        plot.find([newest[0].name], parent) == plot.find([str(newest[0])], Path("runs")) == newest
    )
    assert len(plot.find([str(parent), "latest", newest[0].name], parent)) == 6


def test_the_picture_lies_where_it_is_said(capsys, parent, tmp_path):
    pytest.importorskip("matplotlib")
    main(["plot", str(parent)])
    assert capsys.readouterr().out == f"wrote {parent / 'learning_curves.png'}\n"
    main(["plot", "latest", "--run-dir", str(parent), "--out", str(tmp_path / "new" / "a.svg")])
    assert "ppo mlp" in (tmp_path / "new" / "a.svg").read_text()
    assert (parent / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_of_another_version_is_left_out_and_the_rest_is_drawn(capsys, parent):
    odd = write(parent, "CartPole-v1", "mlp", 3, [1.0, 2.0])
    saved = json.loads((odd / "config.json").read_text())
    saved["agent"]["a_setting_of_the_future"] = 1
    (odd / "config.json").write_text(json.dumps(saved))
    found = plot.panels(plot.find([str(parent)], parent))
    assert len(found["CartPole-v1"]["ppo mlp"]) == 3
    said = capsys.readouterr().out
    assert f"{odd.name} is left out: {odd / 'config.json'}: ppo has no setting" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "rollout/ep_rew_men"], "did you mean 'rollout/ep_rew_mean'?"),
        (["--out", "curve.jpg"], "expected a file that ends in .png, .svg, .pdf"),
        (["no-such-run"], "no run 'no-such-run'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(capsys, parent, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["plot", *arguments, "--run-dir", str(parent)])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(capsys, parent, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stopped:
        main(["plot", str(parent)])
    assert stopped.value.code == 2 and "pip install 'bio-rl[plots]'" in capsys.readouterr().err


def test_a_key_that_only_some_runs_have_leaves_the_others_out(capsys, parent):
    first = plot.find([str(parent)], parent)[0]
    with open(first / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 400, "train/x": 1.0}) + "\n")
    assert plot.logged(plot.find([str(parent)], parent), "train/x") == [first]
    assert capsys.readouterr().out.count("is left out: it has not logged train/x") == 5


def test_a_picture_leaves_the_backend_of_the_callers_own_pictures_alone(parent, tmp_path):
    # in a notebook the caller's next figure would not be shown
    matplotlib = pytest.importorskip("matplotlib")
    before = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        plot.draw([str(parent)], tmp_path, tmp_path / "curves.png")
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(before)
