"""Neuromodulators, one a file: functions of [B] tensors that gate plasticity rules
(`bio_rl.plasticity`), or set how an agent learns and decides.

    dopamine        the prediction error that gates plasticity, and its concentration
    feedback        the error fed back to hidden neurons, as the `signal` of a rule
    acetylcholine   the learning rate          noradrenaline   the inverse temperature, and resets
    serotonin       the discount

The last three are alike (`Modulator`): state = m.init(batch); level, state = m.step(state, x), once
a decision. `make` puts them together by their names.
"""

from __future__ import annotations

from collections.abc import Iterable

from bio_rl import discovery
from bio_rl.modulators._modulator import Effects, Modulator, Together, no_effects
from bio_rl.modulators.acetylcholine import Acetylcholine
from bio_rl.modulators.noradrenaline import Noradrenaline
from bio_rl.modulators.serotonin import Serotonin

KINDS: dict[str, type[Modulator]] = {
    "acetylcholine": Acetylcholine,
    "noradrenaline": Noradrenaline,
    "serotonin": Serotonin,
}
"""The neuromodulators that set a meta-parameter, by their names on the command line."""


def make(names: Iterable[str]) -> Together:
    """The neuromodulators of these names, with their defaults. Raises ValueError for an unknown
    name, or one that is there twice.
    """
    chosen: dict[str, Modulator] = {}
    for name in names:
        if name not in KINDS:
            near = discovery.suggestion(name, KINDS)
            raise ValueError(f"no neuromodulator called {name!r} sets how to learn; {near}")
        if name in chosen:
            raise ValueError(f"the neuromodulator {name} is there twice; each may be there once")
        # with the constants of its file: a setting of an agent is a name
        chosen[name] = KINDS[name]()
    return Together(tuple(chosen.values()))


__all__ = ["KINDS", "Effects", "Modulator", "Together", "make", "no_effects"]
