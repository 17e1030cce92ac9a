"""Metrics survive crashes, full disks and resumes; the panel is cheap and leaves the terminal
clean.
"""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from bio_rl.training.metrics import EpisodeStats, Means, MetricsLog, read_rows, to_floats
from bio_rl.training.panel import Panel, clock
from bio_rl.training.reporting import Forecast


def test_tensors_and_numbers_become_floats_in_their_order():
    values = {
        "a": torch.tensor(2**25 + 1),
        "b": 1,
        "c": torch.tensor([0.5]),
        "d": torch.tensor(True),
        "e": 0.25,
    }
    assert list(to_floats(values).items()) == [
        ("a", 2.0**25 + 1),
        ("b", 1.0),
        ("c", 0.5),
        ("d", 1.0),
        ("e", 0.25),
    ]


def test_a_metric_that_is_no_scalar_is_named():
    with pytest.raises(ValueError, match=r"'loss' has shape \(3,\)"):
        to_floats({"loss": torch.zeros(3)})


def test_a_row_holds_means_over_its_updates_and_only_the_last_lazy_value_is_worked_out():
    means, asked = Means(), []
    for i in range(3):
        means.add(
            {
                "rpe": torch.tensor(float(i)),
                "n": i + 1,
                "norm": lambda i=i: asked.append(i) or torch.tensor(10.0 * i),
            }
        )
    means.add({"now and then": torch.tensor(5)})
    row = means.take()
    assert asked == []
    assert to_floats(row) == {
        "rpe": 1.0,
        "n": 2.0,
        "now and then": 5.0,
        "norm": 20.0,
    } and asked == [2]
    means.add({"rpe": torch.tensor(7.0)})
    assert to_floats(means.take()) == {"rpe": 7.0} and means.take() == {}
    means.add({"loss": torch.zeros(3)})
    means.add({"loss": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"'loss' has shape \(3,\)"):
        to_floats(means.take())


def test_all_tensors_are_read_in_one_synchronisation(monkeypatch):
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda self: reads.append(self.shape) or original(self)
    )
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a second synchronisation"))
    to_floats({str(i): torch.tensor(float(i)) for i in range(20)})
    assert reads == [torch.Size([20])]


def test_each_write_is_one_json_line_with_null_for_what_is_not_finite(tmp_path):
    with_nan = {"train/loss": torch.tensor(0.5), "rollout/ep_rew_mean": math.nan, "x": math.inf}
    log = MetricsLog(tmp_path, tensorboard=False)
    assert log.write(128, with_nan)["train/loss"] == 0.5
    (line,) = (
        (tmp_path / "metrics.jsonl").read_text().splitlines()
    )  # before close: a crash loses nothing
    row = json.loads(line, parse_constant=pytest.fail)
    assert abs(row.pop("time") - time.time()) < 60
    assert row == {"step": 128, "train/loss": 0.5, "rollout/ep_rew_mean": None, "x": None}
    log.close()
    log.close()


def test_without_a_folder_values_are_only_converted():
    log = MetricsLog(None)
    assert log.write(1, {"x": torch.tensor(2.0)}) == {"x": 2.0}
    log.text("a", "b")
    log.flush()
    log.close()


def scalars(folder, name):
    """[(step, value)] as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return [(e.step, e.value) for e in events.Scalars(name)]


def test_a_resume_drops_what_lies_beyond_its_step_in_both_logs(tmp_path):
    first = MetricsLog(tmp_path)
    first.text("hyperparameters", "| a | b |")
    for step in (10, 20, 30):
        first.write(step, {"x": 1.0})
    first.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "x"')  # torn by a crash
    time.sleep(1.01)  # TensorBoard orders its files by the second in their names
    second = MetricsLog(tmp_path, resume_step=20)
    second.write(30, {"x": 2.0})
    second.close()
    assert [(row["step"], row["x"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]
    assert scalars(tmp_path, "x") == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_warns_once_and_the_log_goes_on_when_there_is_room(tmp_path):
    resource = pytest.importorskip("resource")
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, {"x": 1.0})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 10, limit[1])
    )
    try:
        with pytest.warns(RuntimeWarning, match="training goes on") as warned:
            assert [log.write(step, {"x": 1.0})["x"] for step in (2, 3)] == [1.0, 1.0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    log.write(4, {"x": 1.0})
    log.close()
    assert len(warned) == 1
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 4]


def test_a_failing_tensorboard_does_not_stop_the_training(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    for name in ("add_scalar", "add_text", "flush"):
        monkeypatch.setattr(log._board, name, full)
    with pytest.warns(RuntimeWarning, match="No space left") as warned:
        log.write(1, {"x": 1.0, "y": 2.0})
        log.text("a", "b")
        log.flush()
    log.close()
    assert len(warned) == 1 and len(read_rows(tmp_path / "metrics.jsonl")) == 1


def test_episode_statistics_roll_over_the_window():
    stats = EpisodeStats(window=3)
    assert math.isnan(stats.mean_return) and math.isnan(stats.mean_length) and stats.count == 0
    stats.add([100.0, 1.0], [9, 1])
    stats.add([2.0, 6.0], [2, 3])
    assert (stats.mean_return, stats.mean_length, stats.count) == (
        3.0,
        2.0,
        4,
    )  # (1+2+6)/3, (1+2+3)/3


def test_resumed_episode_statistics_equal_uninterrupted_ones():
    returns = [0.1 * i for i in range(250)]
    whole, first, second = EpisodeStats(), EpisodeStats(), EpisodeStats()
    whole.add(returns, range(250))
    first.add(returns[:130], range(130))
    second.load_state_dict(first.state_dict())
    second.add(returns[130:], range(130, 250))
    assert (second.mean_return, second.mean_length, second.count) == (
        whole.mean_return,
        whole.mean_length,
        250,
    )
    empty = EpisodeStats()
    empty.load_state_dict(EpisodeStats().state_dict())
    assert empty.count == 0 and math.isnan(empty.mean_return)


def test_times_read_like_a_clock():
    shown = [clock(s) for s in (0, 31.4, 59.7, 3723, 2 * 86400 + 3723, math.inf, math.nan)]
    assert shown == ["0:00", "0:31", "1:00", "1:02:03", "2d 1:02:03", "-:--", "-:--"]


VALUES = {
    "rollout/ep_rew_mean": 123.4,
    "rollout/ep_len_mean": 1000.0,
    "time/collect": 11.0,
    "time/learn": 9.0,
    "train/policy_loss": torch.tensor(-0.012),
}


@pytest.fixture
def now(monkeypatch):
    """A clock to be set by hand."""
    clock_now = [100.0]
    monkeypatch.setattr("bio_rl.training.panel.time.monotonic", lambda: clock_now[0])
    monkeypatch.setattr("bio_rl.training.panel.working_time", lambda: clock_now[0])
    return clock_now


def plain(**options) -> tuple[io.StringIO, Panel]:
    from rich.console import Console

    out = io.StringIO()
    return out, Panel(1_000_000, console=Console(file=out), **options)


def test_plain_lines_come_every_few_seconds_and_at_the_end(now):
    out, panel = plain()
    with panel:
        for step in range(1, 13):
            now[0] += 1.0
            panel.update(step * 10_000, VALUES)
        panel.print("saved [best] so far")
    between = "return 123.4 (len 1000)  10,000 steps/s  collect 55% learn 45%"
    assert out.getvalue().splitlines() == [
        f"step 50,000/1,000,000  5%  {between}  eta 1:35",
        f"step 100,000/1,000,000  10%  {between}  eta 1:30",
        "saved [best] so far",
        f"step 120,000/1,000,000  12%  {between}  eta 1:28",
    ]


def test_a_resumed_panel_counts_speed_from_where_it_started(now):
    out, panel = plain(start=900_000)
    with panel:
        now[0] += 10.0
        panel.update(950_000, {"rollout/ep_rew_mean": math.nan})
    assert out.getvalue() == "step 950,000/1,000,000  95%  5,000 steps/s  eta 0:10\n"


def test_the_last_line_is_shown_when_training_fails(now):
    out, panel = plain()
    with pytest.raises(ZeroDivisionError), panel:
        panel.update(1234)
        raise ZeroDivisionError
    assert out.getvalue().startswith("step 1,234/")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_picture_fits_and_says_everything(width, now, tmp_path):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    panel = Panel(1_000_000, title="CartPole-v1 ppo", run=tmp_path, console=console)
    with panel, console.capture() as capture:
        now[0] += 4
        panel.update(40_960, {**VALUES, "eval/best": 150.2, "train/return": 7.0})
        now[0] += 27
        console.print(panel._picture())
    text = capture.get()
    assert all(len(line) <= width for line in text.splitlines())
    joined = text.replace("│\n│ ", "")
    parts = [
        "CartPole-v1 ppo",
        "4%",
        "40,960 / 1,000,000",
        "123.4",
        "150.2",
        "0:31",
        "policy_loss",
        "-0.012",
        "7",
    ]
    for part in [*parts, "collect 55%"]:
        assert part in joined, part


def test_an_update_costs_less_than_a_millisecond(now):
    _, panel = plain()
    began = time.perf_counter()
    with panel:
        for step in range(2000):
            now[0] += 0.01
            panel.update(step, VALUES)
    assert (time.perf_counter() - began) / 2000 < 1e-3


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_ctrl_c_leaves_the_terminal_clean():
    import pty

    code = """
import time
from bio_rl.training.panel import Panel
with Panel(100, title="a run") as panel:
    panel.print("ready")
    while True:
        panel.update(1)
        time.sleep(0.05)
"""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=child,
        stdout=child,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(child)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(parent, 65536)
    process.send_signal(signal.SIGINT)
    try:
        while more := os.read(parent, 65536):
            shown += more
    except OSError:  # Linux reports the closed terminal so
        pass
    assert process.wait(10) != 0
    os.close(parent)
    assert b"a run" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is shown again"
    assert shown.rstrip().endswith((b"\x1b[?25h", b"\x1b[0m"))


@pytest.mark.parametrize(
    ("share_a_second", "words"),
    [(1e-5, "takes 27.8 more hours"), (1 / 3000, ""), (1 / 7200, "takes 2.0 more hours")],
)
def test_a_run_of_more_than_an_hour_is_told_once_in_its_first_seconds(
    share_a_second, words, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr("bio_rl.training.reporting.time.monotonic", lambda: now[0])
    forecast = Forecast(1_000_000)
    said = []
    for second in range(40):
        now[0] = float(second)
        # nothing moves while kernels are compiled
        said.append(forecast.note(max(0, second - 4) * share_a_second))
    told = [(second, text) for second, text in enumerate(said) if text]
    assert len(told) == bool(words)
    if told:
        assert told[0][0] <= 16 and words in told[0][1]


def test_a_long_run_is_told_what_would_take_an_hour(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("bio_rl.training.reporting.time.monotonic", lambda: now[0])
    forecast = Forecast(1_000_000)
    now[0] = 6.0
    assert forecast.note(0.0) == ""
    now[0] = 16.0
    assert "--steps 360,000 takes an hour" in forecast.note(0.001)
