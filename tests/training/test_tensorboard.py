"""TensorBoard shows every run once, with its settings and its final score."""

from __future__ import annotations

from pathlib import Path

import pytest

import bio_rl
from bio_rl.training import metrics
from bio_rl.training.metrics import FINAL, MetricsLog

SMALL = {
    "network": "mlp",
    "steps": 64,
    "num_envs": 2,
    "eval_episodes": 1,
    "checkpoints": 1,
    "ppo": {"update_every": 16, "minibatch": 16},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        bio_rl.train("CartPole-v1", run_dir=folder, seed=seed, **SMALL)
    return folder


def events(folder: Path):
    """The events of a run, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_two_runs_are_shown_as_two(runs):
    from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories

    assert (runs / "latest").exists()
    found = sorted(Path(path).name for path in GetLogdirSubdirectories(str(runs)))
    assert found == sorted(path.name for path in runs.iterdir() if path.is_dir())
    assert len(found) == 2


def test_the_page_of_hyperparameters_has_settings_and_the_final_score(runs):
    from tensorboard.plugins.hparams import metadata

    run = bio_rl.load(runs / "latest")
    found = events(run.folder)
    content = found.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["seed"].number_value == 1
    assert start.hparams["ppo.update-every"].number_value == 16
    assert start.hparams["env"].string_value == "CartPole-v1"
    (score,) = found.Scalars(FINAL)
    saved = metrics.parse_json((run.folder / "result.json").read_bytes())
    assert (score.step, score.value) == (64, pytest.approx(saved["mean"]))
    assert found.Scalars("rollout/ep_rew_mean")


def test_what_matters_stands_on_a_page_of_its_own(runs):
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    found = events(bio_rl.load(runs / "latest").folder)
    assert metadata.CONFIG_SUMMARY_TAG in found.Tags()["tensors"]
    (event,) = found.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    chart = layout.category[0].chart[0]
    assert list(chart.multiline.tag) == ["rollout/ep_rew_mean", "eval/mean_reward"]


def test_a_disk_that_fails_costs_a_warning(tmp_path, monkeypatch):
    from torch.utils import tensorboard

    MetricsLog(tmp_path).close()

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(tensorboard, "SummaryWriter", full)
    with pytest.warns(RuntimeWarning, match="no space left"):
        metrics.note_score(tmp_path, {}, 1.0, 64)
