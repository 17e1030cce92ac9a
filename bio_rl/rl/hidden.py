"""Hidden synapses that learn by a local rule: each layer's connection of a network, its rule, and
the feedback by which its neurons receive a learning signal from the outputs.

    L_j = Σ_k B_jk s_k        s: the outputs' own signals, ∂ log π(a) / ∂ out_k, and 1 for V

B is drawn once and stays, for every layer at once: direct feedback alignment (Lillicrap et al.
2016; Nøkland 2016). A rule that reads no signal needs none of it. A rule of spikes sees every tick
of a decision; a rule of activities sees the decision's means. The signal comes with the last tick,
when the outputs have decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import plasticity
from bio_rl.connections._plastic import Plastic, PlasticState, Trail
from bio_rl.contracts import Network, Percept
from bio_rl.parts import Plasticity
from bio_rl.plasticity import Post, Pre, Rule
from bio_rl.state import index, tree_map

TICKWISE = {"spike", "psi", "p", "v"}
"""Variables that make sense tick by tick; a rule that reads none of them sees a
decision's means.
"""


class HiddenState(NamedTuple):
    """The memory of all hidden synapses of B lives."""

    synapses: tuple[PlasticState, ...]
    """Each connection's traces."""
    trails: tuple[Trail, ...]
    """Both sides of each connection in the last decision, from which it has yet to learn."""


class Tick(NamedTuple):
    """A moment of a decision, as the rule of one connection sees it."""

    pre: Pre
    post: Post
    signal: Tensor | None
    """[B, post] learning signal; None for a rule that reads none."""
    dt: float
    """Its length, ms."""


class HiddenSynapses(nn.Module):
    """The plastic connections of a network, and the feedback onto its hidden neurons."""

    def __init__(self, network: Network, rule: Rule, signals: int) -> None:
        """signals: how many outputs the feedback comes from."""
        super().__init__()
        self.rule = rule
        self.network = (network,)  # in a tuple: its weights belong to the agent's own network
        for i, synapses in enumerate(network.plastic):
            n = synapses.connection.get_parameter("weight").shape[-2]
            feedback = torch.randn(n, signals) * n**-0.5
            self.register_buffer(f"b{i}", feedback if rule.needs.reads_signal else None)
        self.plastic: tuple[Plastic, ...] = ()

    @torch.no_grad()
    def prepare(self, percept: Percept) -> None:
        """Take over the connections' weights, once these are on their device.

        percept: any of one row, whose decision shows the form of trails.
        """
        (network,) = self.network
        self.plastic = tuple(
            Plastic(synapses.connection, self.rule, mask=synapses.mask)
            for synapses in network.plastic
        )
        self.dt = tuple(synapses.dt for synapses in network.plastic)
        """ms per tick, of each connection."""
        self.no_trails: tuple[Trail, ...] = ()
        """Trails [1, K, ...] of zeros."""
        if self.plastic:
            lived = network.live(percept, network.initial_state(1))
            self.no_trails = tree_map(torch.zeros_like, lived.trails)

    @property
    def tickwise(self) -> bool:
        """Whether the rule sees every tick of a decision."""
        needs = self.rule.needs
        return bool(TICKWISE.intersection((*needs.pre, *needs.post)))

    @property
    def weights(self) -> list[Tensor]:
        """The weights of each connection, which learning changes."""
        return [plastic.weights for plastic in self.plastic]

    def plasticity(self) -> tuple[Plasticity, ...]:
        """The cost of the learning of each connection."""
        found = []
        for i, (plastic, trail) in enumerate(zip(self.plastic, self.no_trails, strict=True), 1):
            passes = trail.pre.shape[1] if self.tickwise else 1
            found.append(plastic.plasticity(f"hidden {i}", passes))
        return tuple(found)

    def check(self, rule: str, network: str) -> None:
        """Raise ValueError where `network` does not give its synapses what `rule` reads; both are
        names.
        """
        for synapses, trail in zip(self.network[0].plastic, self.no_trails, strict=True):
            given = trail.post._asdict().items()
            post = {name for name, x in given if name != "spike" and isinstance(x, Tensor)}
            post.add(synapses.post)
            self.rule.needs.check(rule, network, (synapses.pre,), sorted(post), signal=True)

    def initial_state(self, batch: int) -> HiddenState:
        """The state of `batch` fresh lives: traces and trails of zeros."""
        trails = tree_map(lambda x: x.expand(batch, *x.shape[1:]).clone(), self.no_trails)
        return HiddenState(tuple(plastic.initial_state(batch) for plastic in self.plastic), trails)

    def learn(
        self,
        state: HiddenState,
        score: Tensor,
        modulator: Tensor,
        fresh: Tensor,
        lr: float,
        valid: Tensor | None = None,
    ) -> HiddenState:
        """The state after the decision of its trails, for which the outputs have this score
        [B, signals]; the weights change as the modulator [B] says.

        fresh: [B] bool, rows whose episode began with the decision. valid: [B] bool, rows that
        count; by default all. The others change nothing, and keep their traces.
        """
        if valid is None:
            return state._replace(synapses=self._learn(state, score, modulator, fresh, lr))
        if not bool(valid.any()):
            return state
        # no modulator gates an unsupervised rule, so that it gets the rows that count and no others
        rows = index((state, score, modulator, fresh), valid)
        learned = self._learn(*rows, lr)
        merged = tree_map(lambda old, new: _replaced(old, valid, new), state.synapses, learned)
        return state._replace(synapses=merged)

    def _learn(
        self, state: HiddenState, score: Tensor, modulator: Tensor, fresh: Tensor, lr: float
    ) -> tuple[PlasticState, ...]:
        """The synapses after a decision of rows that all count."""
        if not self.rule.needs.modulator:
            modulator = torch.ones_like(modulator)
        every_tick = self.rule.needs.every_tick
        after = []
        for i, plastic in enumerate(self.plastic):
            synapses = state.synapses[i]
            began: Tensor | None = fresh
            for pre, post, signal, dt in self._ticks(i, state.trails[i], score):
                synapses = plastic.remember(synapses, pre, post, signal, dt, began)
                began = None
                if every_tick:
                    synapses = plastic.learn(synapses, modulator, lr)
            if not every_tick:
                synapses = plastic.learn(synapses, modulator, lr)
            after.append(synapses)
        return tuple(after)

    def _ticks(self, layer: int, trail: Trail, score: Tensor) -> Iterator[Tick]:
        """The ticks of a decision as the rule sees them: all of them, the signal with the last; or
        one as long as the decision, with its mean activities.
        """
        signal = self._signal(layer, score, trail)
        dt = self.dt[layer]
        ticks = trail.pre.shape[1]
        if not self.tickwise:
            yield Tick(*trail.mean(), signal, dt * ticks)
            return
        none = None if signal is None else torch.zeros_like(signal)
        for k in range(ticks):
            yield Tick(*trail.tick(k), signal if k == ticks - 1 else none, dt)

    def _signal(self, layer: int, score: Tensor, trail: Trail) -> Tensor | None:
        """[B, post] learning signal of the neurons of a layer, None for a rule that reads none.

        A rule that reads ψ multiplies by it itself, and descends an error; another is given
        ∂ log π(a) / ∂ u_j, the way in which the neuron's potential would have to go.
        """
        if not self.rule.needs.reads_signal:
            return None
        fed_back = score @ self.get_buffer(f"b{layer}").mT
        if "psi" in self.rule.needs.post:
            return -fed_back
        psi = trail.post.psi
        return fed_back if isinstance(psi, tuple) else fed_back * psi.mean(1)


def _replaced(x: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """A copy of x [B, ...] with `new` in the rows [B] bool."""
    copy = x.clone()
    copy[rows] = new
    return copy


def make_rule(name: str, constants: Sequence[str], fade: float, decision: float) -> Rule:
    """The rule called `name`, or a chain such as three_factor+scaling, with constants NAME=NUMBER.

    fade: what is left of eligibility after a decision of `decision` ms; a rule's eligibility fades
    so unless its time constant is given. Raises ValueError for unknown names.
    """
    chosen = plasticity.parse(constants)
    tau = math.inf if fade >= 1.0 else -decision / math.log(fade) if fade > 0.0 else 0.0
    for part in name.split("+"):
        fields = () if part == plasticity.BOUNDS else plasticity.load(part)._fields
        for field in ELIGIBILITY.intersection(fields):
            key = field if field in chosen else f"{part}.{field}"
            chosen.setdefault(key, tau)
    return plasticity.make(name, chosen)


ELIGIBILITY = {"tau_e", "tau_c", "tau_gamma"}
"""Names that rules give the time constant of their eligibility."""
