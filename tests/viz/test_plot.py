"""`train.py plot`: which runs become one curve, what the curve is, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bio_rl.__main__ import main
from bio_rl.training import config, runfolder
from bio_rl.viz import curves, plot, scores


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


def test_the_evaluations_of_a_run_stand_beside_its_training_and_the_window_is_named(parent):
    pytest.importorskip("matplotlib")
    for folder in plot.find([str(parent)], parent):
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": 200, "time": 0.0, curves.EVALUATED: 77.0}) + "\n")
    figures = []
    original = curves.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "save", lambda figure, path: figures.append(figure) or path)
        plot.draw([str(parent)], parent, parent / "x.png")
    (figure,) = figures
    (cart_pole, hopper) = [axis for axis in figure.axes if axis.get_title()]
    dots = [line for line in cart_pole.lines if line.get_marker() == "o"]
    assert len(dots) == 3 and {tuple(line.get_ydata()) for line in dots} == {(77.0,)}
    said = figure.get_supxlabel().replace("\n", " ")
    assert "mean over the last 100 episodes" in said and "greedy evaluations" in said
    assert "95% t interval over 3 seeds" in said
    # the same kind of run has the same colour in both panels
    colours = [
        {line.get_label(): line.get_color() for line in axis.lines} for axis in (cart_pole, hopper)
    ]
    assert colours[0]["ppo mlp (3 seeds)"] == colours[1]["ppo mlp"]
    original(figure, parent / "y.png")


def test_a_long_label_is_wrapped_and_lies_within_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    many = {"hidden": (8, 8), "tau_mem": 3.0, "ticks": 7, "population": 5, "reach": 2.0}
    write(tmp_path, "CartPole-v1", "spiking", 0, [1.0, 2.0])
    write(tmp_path, "CartPole-v1", "spiking", 1, [1.0, 2.0], **many)
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "save", lambda figure, path: figures.append(figure) or path)
        plot.draw([str(tmp_path)], tmp_path, tmp_path / "x.png")
    (figure,) = figures
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any("\n" in text for text in texts)
    assert "ticks 7" in " ".join(texts) and "reach 2.0" in " ".join(texts)
    figure.draw_without_rendering()
    box = figure.axes[0].get_legend().get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0


def test_a_folder_of_cases_holds_their_runs(tmp_path):
    for case in ("a", "b"):
        write(tmp_path / "sweep" / case, "CartPole-v1", "mlp", 0, [1.0, 2.0])
    found = plot.find([str(tmp_path / "sweep")], tmp_path)
    assert [folder.parent.name for folder in found] == ["a", "b"]


RESULTS = {
    "CartPole-v1/ppo/mlp": {"seeds": {"0": {"mean": 100.0}, "1": {"mean": 300.0}}},
    "CartPole-v1/ppo/spiking --neuron alif": {"seeds": {"0": {"mean": 400.0}}},
    "bio_rl/Hopper-v5/ppo/mlp": {"seeds": {"0": {"mean": 3000.0}}},
    "mean over environments": {"ratio_spiking_mlp": 0.9},
}


def test_a_file_of_results_is_drawn_with_every_seed(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "learning.json"
    file.write_text(json.dumps({"results": RESULTS}))
    cases = scores.read(file)
    assert [(case.env, case.label) for case in cases] == [
        ("CartPole-v1", "ppo mlp"),
        ("CartPole-v1", "ppo spiking --neuron alif"),
        ("Hopper-v5", "ppo mlp"),
    ]
    assert cases[0].returns.tolist() == [100.0, 300.0]
    main(["plot", str(file)])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'learning.png'}\n"
    assert (tmp_path / "learning.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "cannot be drawn"),
        ("no json", "cannot be drawn"),
        ('{"results": {"a/b/c": {"iqm": 1}}}', "holds no cases with seeds"),
        ('{"results": {"a": {"seeds": {"0": {"mean": 1}}}}}', "cannot be drawn"),
        ('{"results": {"a/b/c": {"seeds": {"0": {"mean": "x"}}}}}', "cannot be drawn"),
    ],
)
def test_a_file_without_seeds_is_refused(tmp_path, capsys, text, message):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["plot", str(file)])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_files_and_runs_are_not_drawn_together(parent, capsys):
    with pytest.raises(SystemExit):
        main(["plot", str(parent), "x.json"])
    assert "a picture of its own" in capsys.readouterr().err
