"""The distal reward network: its fused loop against the library's neuron, rule and modulator, and
what it learned.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bio_rl.bench import __main__ as bench_cli
from bio_rl.bench import distal_reward
from bio_rl.bench._distal_reward_network import (
    CHUNK,
    EARNS,
    N1,
    N2,
    PERIOD,
    Constants,
    Run,
    State,
    Trace,
    Wiring,
    advance,
    initial_state,
    simulate,
    wire,
)
from bio_rl.neurons.izhikevich import PRESETS, Izhikevich, IzhikevichState
from bio_rl.plasticity import Post, Pre
from bio_rl.viz import distal_reward as picture

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "distal_reward.json"
SMALL = Constants(
    excitatory=80, inhibitory=20, synapses=10, noise=20.0, w_excitatory=2.0, w_inhibitory=-2.0
)
"""Fires often enough for all that matters to happen within a second."""


def blank(ticks: int) -> Trace:
    return Trace(
        *(
            np.zeros(ticks, kind)
            for kind in (np.float32, np.float32, np.float32, np.uint8, np.int32)
        )
    )


def drawn(p: Constants, ticks: int, seed: int = 0) -> tuple[Wiring, np.ndarray, np.ndarray]:
    """(Wiring, noise [T, N], dopamine pulses [T])."""
    rng = np.random.default_rng(seed)
    noise = (p.noise * (rng.random((ticks, p.neurons)) - 0.5)).astype(np.float32)
    return wire(p, rng), noise, (0.5 * (rng.random(ticks) < 0.01)).astype(np.float32)


def dense(p: Constants, wiring: Wiring, per_synapse: np.ndarray) -> torch.Tensor:
    """[post, pre] of what is [rows, M] by presynaptic neuron; zero where there is no synapse."""
    rows, m = per_synapse.shape
    found = torch.zeros(p.neurons, p.neurons)
    found[
        torch.tensor(wiring.post[:rows]).long(), torch.arange(rows).unsqueeze(1).expand(rows, m)
    ] = torch.tensor(per_synapse)
    return found


def reference(
    p: Constants, wiring: Wiring, s: State, noise: np.ndarray, pulses: np.ndarray
) -> tuple[torch.Tensor, ...]:
    """(Spikes [T, N], weights and eligibilities [post, pre] at the end, dopamine [T]): the network
    from the library's parts.
    """
    kinds = [PRESETS["regular_spiking"]] * p.excitatory + [PRESETS["fast_spiking"]] * p.inhibitory
    cells = Izhikevich(a=torch.tensor([k.a for k in kinds]), d=torch.tensor([k.d for k in kinds]))
    neurons = IzhikevichState(torch.tensor(s.v)[None], torch.tensor(s.u)[None])
    w, plastic = dense(p, wiring, s.w), dense(p, wiring, np.ones_like(s.c))
    synapses, dopamine = p.rule.init(1, p.neurons, p.neurons), p.dopamine.init(1)
    z, spikes, levels = torch.zeros(1, p.neurons), [], []
    for t in range(len(noise)):
        z, neurons = cells.step(neurons, z @ w.T + torch.tensor(noise[t]))
        synapses = p.rule.trace(synapses, w, Pre(z), Post(z))
        level, dopamine = p.dopamine.step(dopamine, torch.tensor(pulses[t : t + 1]))
        if (t + 1) % PERIOD == 0:
            change = plastic * p.rule.delta(synapses, w, level)[0]
            w = torch.where(plastic > 0, (w + change).clamp(0.0, p.w_max), w)
        spikes.append(z[0])
        levels.append(level)
    return torch.stack(spikes), w, plastic * synapses.c[0], torch.cat(levels)


def test_the_loop_is_the_library_s_neuron_rule_and_modulator():
    ticks = 1500
    wiring, noise, pulses = drawn(SMALL, ticks)
    s, seen = initial_state(SMALL), blank(ticks)
    spikes, w, c, levels = reference(SMALL, wiring, s, noise, pulses)
    before = s.w.copy()
    advance(SMALL, wiring, s, noise.copy(), pulses, seen)
    assert spikes.sum() > 1000 and spikes[:, 0].sum() > 3 and spikes[:, wiring.post[0, 0]].sum() > 3
    assert (seen.count == spikes.sum(1).numpy()).all()
    assert ((seen.spikes & N1 > 0) == spikes[:, 0].numpy()).all()
    assert ((seen.spikes & N2 > 0) == spikes[:, wiring.post[0, 0]].numpy()).all()
    torch.testing.assert_close(dense(SMALL, wiring, s.w), w, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(dense(SMALL, wiring, s.c), c, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(torch.tensor(seen.d), levels, rtol=1e-4, atol=1e-6)
    assert seen.w[-1] == s.w[0, 0] and seen.c[-1] == pytest.approx(s.c[0, 0], abs=1e-6)
    moved = np.abs(s.w - before)[: SMALL.excitatory]
    assert moved.mean() > 0.01 and not (s.w == before)[: SMALL.excitatory].all()
    assert (s.w == before)[SMALL.excitatory :].all()  # inhibition is not plastic


def test_the_loop_goes_on_where_it_stopped():
    wiring, noise, pulses = drawn(SMALL, 800)
    whole, parts, seen = initial_state(SMALL), initial_state(SMALL), blank(800)
    advance(SMALL, wiring, whole, noise.copy(), pulses, seen)
    for begin in (0, 400):
        now = slice(begin, begin + 400)
        advance(
            SMALL,
            wiring,
            parts,
            noise[now].copy(),
            pulses[now],
            Trace(*(x[now] for x in blank(800))),
            begin,
        )
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))


def test_every_neuron_has_its_synapses_and_none_onto_itself():
    p = Constants()
    wiring = wire(p, np.random.default_rng(0))
    assert all(
        len(set(row)) == p.synapses and i not in row for i, row in enumerate(wiring.post.tolist())
    )
    assert wiring.post[p.excitatory :].max() < p.excitatory and wiring.post[0, 0] < p.excitatory
    assert wiring.post[: p.excitatory].max() >= p.excitatory
    for neuron in (0, 799, 999):
        onto = wiring.incoming[wiring.start[neuron] : wiring.start[neuron + 1]]
        assert (wiring.post.ravel()[onto] == neuron).all() and len(onto) == (
            wiring.post[: p.excitatory] == neuron
        ).sum()


def test_n2_soon_after_n1_earns_a_reward_one_to_three_seconds_later():
    p = SMALL._replace(noise=30.0)
    found = simulate(
        p, wire(p, np.random.default_rng(0)), initial_state(p), 20 * CHUNK, np.random.default_rng(1)
    )
    n1, n2, earns = (np.flatnonzero(found.trace.spikes & bit) for bit in (N1, N2, EARNS))
    gaps = [t - max((s for s in n1 if s <= t), default=-(10**9)) for t in n2]
    assert [
        t for t, gap in zip(n2, gaps, strict=True) if 0 < gap < p.coincidence
    ] == earns.tolist() and len(earns) > 5
    early = earns[earns < 17 * CHUNK]  # whose reward cannot lie beyond the end
    times = np.repeat(np.arange(len(found.rewards)), found.rewards.astype(int))
    assert times[: len(early)].size == len(early) and times[0] >= earns[0] + p.delay[0]
    for n, t in enumerate(
        np.sort(early)
    ):  # in order of the pairings at least n + 1 rewards have come by the latest time
        assert (times <= t + p.delay[1]).sum() > n
    for t in times:
        assert ((earns >= t - p.delay[1]) & (earns <= t - p.delay[0])).any()


def test_ticks_that_no_reward_can_wait_for_are_refused():
    with pytest.raises(ValueError, match="1500 ticks"):
        simulate(
            SMALL,
            wire(SMALL, np.random.default_rng(0)),
            initial_state(SMALL),
            1500,
            np.random.default_rng(0),
        )


def test_the_command_reports_both_kinds_of_run(capsys):
    bench_cli.main(["distal_reward", "--seeds", "3", "4", "--minutes", "1", "--json"])
    results = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["results"]
    assert results.keys() == {"rewarded", "shuffled"}
    for figures in results.values():
        assert (
            figures["runs"] == 2
            and 0.9 < figures["others"] < 1.0
            and 1.0 < figures["rate_hz"] < 1.5
        )
        assert figures["rewards_by_seed"] == results["rewarded"]["rewards_by_seed"]


def test_the_picture_shows_a_pairing_that_was_rewarded_alone(tmp_path):
    pytest.importorskip("matplotlib")
    ticks, low, pairing, reward = 10_000, 2000, 3000, 4500
    trace = blank(ticks)
    trace.spikes[[pairing - 7, pairing, 8000]] = (
        N1,
        N2 | EARNS,
        N2 | EARNS,
    )  # the second is not rewarded any more
    trace.w[:], given = np.arange(ticks), np.zeros(ticks)
    given[reward] = 1
    shown = distal_reward.zoom(Run(trace, np.zeros(10), given))
    assert (shown.start, shown.pair, shown.reward) == (2.0, 1.0, 2.5) and shown.weight[0] == low
    assert shown.n1.tolist() == [0.993] and shown.n2.tolist() == [1.0]
    hour = np.ones((2, 60))
    path = picture.draw(hour, hour, hour, shown, tmp_path / "new" / "picture.png", 4.0)
    assert path.stat().st_size > 10_000
    given[reward + 500] = 1
    with pytest.raises(ValueError, match="alone"):
        distal_reward.zoom(Run(trace, np.zeros(10), given))


def check(results: dict, seeds: int) -> None:
    """What Izhikevich 2007, fig. 1 shows: the synapse at its maximum, the others below a third of
    it, and only by dopamine.
    """
    w_max = Constants().w_max
    rewarded, shuffled = results["rewarded"], results["shuffled"]
    assert rewarded["runs"] == shuffled["runs"] == seeds
    assert rewarded["at_maximum"] == seeds and rewarded["weight_min"] > 0.75 * w_max
    assert rewarded["others_max"] < w_max / 3
    assert shuffled["at_maximum"] == 0 and shuffled["weight_max"] < 0.75 * w_max
    assert shuffled["rewards_by_seed"] == rewarded["rewards_by_seed"]


def test_the_committed_result_shows_it():
    report = json.loads(RESULTS.read_text())
    assert report["settings"]["minutes"] == 60
    check(report["results"], len(report["settings"]["seeds"]))


@pytest.mark.slow
def test_the_rewarded_synapse_alone_is_driven_to_its_maximum(tmp_path):
    pytest.importorskip("matplotlib")
    settings = distal_reward.Settings(seeds=(0, 1), picture=tmp_path / "picture.png")
    check(distal_reward.run(settings), 2)
    assert settings.picture.stat().st_size > 10_000
