"""The figures that people typed into pages are those of the result files."""

from __future__ import annotations

import re

import pytest

from bio_rl.viz import results
from tests.docs.pages import DOCS

SPIKING = "learning[HalfCheetah-v5/ppo/spiking]"
FRESH = "halfcheetah[HalfCheetah-v5/ppo"
RULE = "rules[CartPole-v1/three_factor/spiking --rule"
CELLS = "dopamine[CartPole-v1/three_factor/cells"
CHOOSE = (
    f"500 of {{{CELLS}][iqm]:.0f}}. With dopamine shuffled: "
    f"{{{CELLS} --three-factor.dopamine shuffled][iqm]:.0f}}.",
    "HalfCheetah-v5 by `three_factor`: {brains[HalfCheetah-v5][iqm]:.0f} after 3M steps",
    f"where gradients reach {{{FRESH}/spiking][iqm]:.0f}} with spikes",
    "{eprop[CueAccumulation-v0/eprop/lsnn][iqm]:.2f} of 1. With dopamine shuffled: "
    "{eprop[CueAccumulation-v0/eprop/lsnn --eprop.dopamine shuffled][median]:.2f}.",
    "{hebbian[CartPole-v1/hebbian/mlp][median]:.0f} (median). With dopamine shuffled: "
    "{hebbian[CartPole-v1/hebbian/mlp --hebbian.dopamine shuffled][median]:.0f}. With hidden "
    "synapses left as drawn: {hebbian[CartPole-v1/hebbian/mlp --hebbian.hidden-lr 0][median]:.0f}",
    f"`spiking` {{{FRESH}/spiking][iqm]:.0f}}, `mlp` {{{FRESH}/mlp][iqm]:.0f}} over "
    f"{{{FRESH}/mlp][n]}} fresh seeds",
    f"`spiking` {{{SPIKING}[iqm]:.0f}}, `recurrent_spiking` "
    "{neuron_variants[HalfCheetah-v5/ppo/recurrent_spiking][iqm]:.0f}",
    "`spiking` {learning[Hopper-v5/ppo/spiking][iqm]:.0f}, `mlp` "
    "{learning[Hopper-v5/ppo/mlp][iqm]:.0f}.",
    "`spiking` with memory {learning[MaskedCartPole-v0/ppo/spiking][iqm]:.0f}, `lstm` "
    "{learning[MaskedCartPole-v0/ppo/lstm][iqm]:.0f}, `mlp` "
    "{learning[MaskedCartPole-v0/ppo/mlp][iqm]:.0f}.",
    f"`lif` {{{SPIKING}[iqm]:.0f}}, `plif` "
    "{neuron_variants[HalfCheetah-v5/ppo/spiking --neuron plif][iqm]:.0f}, `alif` "
    "{neuron_variants[HalfCheetah-v5/ppo/spiking --neuron alif][iqm]:.0f} ",
    f"frozen {{{RULE} three_factor --three-factor.hidden-lr 0][iqm]:.0f}}, `oja` "
    f"{{{RULE} oja --three-factor.hidden-lr .002][iqm]:.0f}}, `eprop` "
    f"{{{RULE} eprop][iqm]:.0f}}, `three_factor` {{{RULE} three_factor][iqm]:.0f}}, `td_ltp` "
    f"{{{RULE} td_ltp --spiking.code deterministic][iqm]:.0f}}.",
)
"""Words of docs/concepts/choose.md with the places of their figures, as in tables.toml."""


@pytest.mark.parametrize("words", CHOOSE)
def test_a_figure_on_the_page_of_choices_is_that_of_its_file(words: str) -> None:
    page = (DOCS / "concepts" / "choose.md").read_text(encoding="utf-8")
    found = results.read(DOCS / "results")
    assert words.format_map(found) in re.sub(r"\s+", " ", page)
