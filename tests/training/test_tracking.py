"""`--track`: what a service is told of a run, that it goes on there as the same run, and that it
costs no training where it fails. Services are stand-ins here, and MLflow itself where it is there.
"""

import sys
import types

import pytest

from bio_rl import __main__ as cli
from bio_rl.training import tracking

SMALL = ["--network", "mlp", "--num-envs", "4", "--checkpoints", "2", "--eval-episodes", "1"]


class Recorder(tracking.Service):
    """A service in memory."""

    runs: dict = {}  # noqa: RUF012

    def __init__(self, name, folder, settings):
        self.rows = self.runs.setdefault(name, {"settings": settings, "rows": [], "open": True})

    def log(self, metrics, steps):
        self.rows["rows"].append((steps, metrics))

    def close(self):
        self.rows["open"] = False


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(Recorder, "runs", {})
    monkeypatch.setitem(tracking.SERVICES, "wandb", Recorder)
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    return Recorder.runs


def test_a_service_is_told_of_every_row_of_the_settings_and_of_the_final_score(recorder, tmp_path):
    cli.main(["--track", "wandb", "--steps", "2000", "--run-dir", str(tmp_path), *SMALL])
    [(name, run)] = recorder.items()
    assert (tmp_path / name / "config.json").is_file() and not run["open"]
    assert run["settings"]["ppo.gamma"] == 0.98 and run["settings"]["network"] == "mlp"
    steps = [step for step, _ in run["rows"]]
    assert steps == sorted(steps) and len(steps) >= 4
    assert "eval/final_mean_reward" in run["rows"][-1][1]
    assert any("eval/mean_reward" in metrics for _, metrics in run["rows"])


def test_a_resumed_run_goes_on_as_the_same_run_where_it_is_asked_for(recorder, tmp_path):
    place = ["--run-dir", str(tmp_path)]
    cli.main(["--track", "wandb", "--steps", "1000", *place, *SMALL])
    [run] = recorder.values()
    before = len(run["rows"])
    cli.main(["resume", "latest", "--steps", "2000", *place])
    assert len(run["rows"]) == before, "nothing that a run folder holds sends anything anywhere"
    cli.main(["resume", "latest", "--steps", "3000", "--track", "wandb", *place])
    assert len(recorder) == 1 and len(run["rows"]) > before


def test_a_service_that_fails_costs_its_rows_and_one_warning(recorder, tmp_path, monkeypatch):
    def fail(self, metrics, steps):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Recorder, "log", fail)
    with pytest.warns(RuntimeWarning, match="no route to host.*goes on without it") as warned:
        cli.main(["--track", "wandb", "--steps", "2000", "--run-dir", str(tmp_path), *SMALL])
    assert len([one for one in warned if "no route" in str(one.message)]) == 1
    assert list(tmp_path.glob("*_s0_*/result.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--track", "mlflo"], "did you mean 'mlflow'"),
        (["--track", "wandb", "--agent", "sac", "--seeds", "2"], "not with --seeds 2"),
    ],
)
def test_what_cannot_be_tracked_is_refused_before_a_run_begins(
    arguments, message, recorder, tmp_path, capsys
):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--env", "CartPole-v1", "--run-dir", str(tmp_path)])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(service, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(SystemExit):
        cli.main(["--track", service, "--run-dir", str(tmp_path)])
    assert f"pip install 'bio-rl[{service}]'" in capsys.readouterr().err


def test_mlflow_keeps_the_run_in_a_database(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    place = ["--run-dir", str(tmp_path / "runs")]
    cli.main(["--track", "mlflow", "--steps", "1000", *place, *SMALL])
    cli.main(["resume", "latest", "--track", "mlflow", "--steps", "2000", *place])
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name(tracking.PROJECT)
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.params["ppo.gamma"] == "0.98" and run.info.status == "FINISHED"
    rows = client.get_metric_history(run.info.run_id, "rollout/ep_rew_mean")
    assert rows[-1].step >= 2000 and run.data.metrics["eval/final_mean_reward"] > 5


def test_wandb_keeps_the_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    cli.main(["--track", "wandb", "--steps", "1000", "--run-dir", str(tmp_path), *SMALL])
    [folder] = tmp_path.glob("*_s0_*")
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
