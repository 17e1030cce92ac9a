"""The machine's own power meter, in a folder made like Linux's."""

import pytest

from bio_rl.machine import power


def counter(folder, name, microjoules, wraps=1_000_000):
    package = folder / name
    package.mkdir()
    (package / "energy_uj").write_text(str(microjoules))
    (package / "max_energy_range_uj").write_text(str(wraps))
    return package / "energy_uj"


def test_packages_are_read_and_their_parts_are_not(tmp_path):
    counter(tmp_path, "intel-rapl:0", 250_000)
    counter(tmp_path, "intel-rapl:0:1", 100_000)
    (found,) = power.packages(tmp_path)
    assert found.joules() == 0.25 and found.wraps == 1.0


def test_a_machine_without_a_meter_has_no_packages(tmp_path):
    assert power.packages(tmp_path) == []
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("forbidden")
    assert power.packages(tmp_path) == []


def test_joules_of_work_are_those_above_the_idle_machine_also_where_a_counter_wraps(
    tmp_path, monkeypatch
):
    file = counter(tmp_path, "intel-rapl:0", 900_000)
    clock = [0.0]
    monkeypatch.setattr(power.time, "perf_counter", lambda: clock[0])

    def passes(seconds, microjoules):
        clock[0] += seconds
        file.write_text(str((int(file.read_text()) + microjoules) % 1_000_000))

    # idle: 0.05 W; then 2 s of work, in which the counter goes on by 0.3 J past its end
    monkeypatch.setattr(power.time, "sleep", lambda seconds: passes(seconds, 50_000))
    joules, took = power.joules_of(lambda: passes(2.0, 300_000), power.packages(tmp_path))
    assert took == 2.0
    assert joules == pytest.approx(0.3 - 2.0 * 0.05)
