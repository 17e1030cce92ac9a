"""Hidden synapses that learn by a local rule: each layer's connection of a network, its rule, and
the feedback by which it hears of the outputs' errors.

    L_j = Σ_k B_jk s_k        s: what the outputs are told, ∂ log π(a) / ∂ out_k, and 1 for V

B is drawn once and stays, for every layer at once: direct feedback alignment (Lillicrap et al.
2016; Nøkland 2016). A rule that reads no signal needs none of it. A rule of spikes sees every tick
of a decision; a rule of activities sees the decision's means. The signal comes with the last tick,
when the outputs have decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bio_rl import plasticity
from bio_rl.connections._plastic import Plastic, PlasticState, Trail
from bio_rl.contracts import Network
from bio_rl.plasticity import Rule

TICKWISE = {"spike", "psi", "p", "v"}
"""Variables that make sense tick by tick; a rule that reads none of them sees a
decision's means.
"""


class HiddenSynapses(nn.Module):
    """The plastic connections of a network, and the feedback onto its hidden neurons."""

    def __init__(self, network: Network, rule: Rule, signals: int) -> None:
        """signals: how many outputs tell the hidden neurons of a decision."""
        super().__init__()
        self.rule = rule
        self.network = (network,)  # in a tuple: its weights belong to the agent's own network
        for i, synapses in enumerate(network.plastic):
            n = synapses.connection.get_parameter("weight").shape[-2]
            feedback = torch.randn(n, signals) * n**-0.5
            self.register_buffer(f"b{i}", feedback if rule.needs.reads_signal else None)
        self.plastic: tuple[Plastic, ...] = ()

    def prepare(self) -> None:
        """Take over the connections' weights, once these are on their device."""
        (network,) = self.network
        self.plastic = tuple(
            Plastic(synapses.connection, self.rule, mask=synapses.mask)
            for synapses in network.plastic
        )
        self.dt = tuple(synapses.dt for synapses in network.plastic)
        """ms per tick, of each connection."""

    @property
    def tickwise(self) -> bool:
        """Whether the rule sees every tick of a decision."""
        needs = self.rule.needs
        return bool(TICKWISE.intersection((*needs.pre, *needs.post)))

    @property
    def weights(self) -> list[Tensor]:
        """What learning changes."""
        return [plastic.weights for plastic in self.plastic]

    def check(self, rule: str, network: str, trails: Sequence[Trail]) -> None:
        """Raise ValueError where the synapses of `network` do not meet what `rule` reads.

        rule, network: names. trails: of any decision.
        """
        for synapses, trail in zip(self.network[0].plastic, trails, strict=True):
            given = trail.post._asdict().items()
            post = {name for name, x in given if name != "spike" and isinstance(x, Tensor)}
            post.add(synapses.post)
            self.rule.needs.check(rule, network, (synapses.pre,), sorted(post), signal=True)

    def initial_state(self, batch: int) -> tuple[PlasticState, ...]:
        """What the synapses of `batch` fresh lives remember: nothing."""
        return tuple(plastic.initial_state(batch) for plastic in self.plastic)

    def learn(
        self,
        states: Sequence[PlasticState],
        trails: Sequence[Trail],
        score: Tensor,
        modulator: Tensor,
        fresh: Tensor,
        lr: float,
    ) -> tuple[PlasticState, ...]:
        """The states after a decision, whose synapses met `trails` and whose outputs were told
        `score` [B, signals]; the weights change as the modulator [B] says.

        fresh: [B] bool, rows whose episode began with the decision.
        """
        if not self.rule.needs.modulator:
            modulator = torch.ones_like(modulator)
        after = []
        for i, (plastic, state, trail) in enumerate(zip(self.plastic, states, trails, strict=True)):
            signal = self._signal(i, score, trail)
            one = self._by_ticks if self.tickwise else self._by_means
            after.append(one(plastic, state, trail, self.dt[i], signal, modulator, fresh, lr))
        return tuple(after)

    def _signal(self, layer: int, score: Tensor, trail: Trail) -> Tensor | None:
        """[B, post] what the neurons of a layer are told, None for a rule that does not listen.

        A rule that reads ψ multiplies by it itself, and descends an error; another is given
        ∂ log π(a) / ∂ u_j, the way in which the neuron's potential would have to go.
        """
        if not self.rule.needs.reads_signal:
            return None
        told = score @ self.get_buffer(f"b{layer}").mT
        if "psi" in self.rule.needs.post:
            return -told
        psi = trail.post.psi
        return told if isinstance(psi, tuple) else told * psi.mean(1)

    def _by_means(
        self,
        plastic: Plastic,
        state: PlasticState,
        trail: Trail,
        dt: float,
        signal: Tensor | None,
        modulator: Tensor,
        fresh: Tensor,
        lr: float,
    ) -> PlasticState:
        """One tick as long as the decision, with its mean activities."""
        pre, post = trail.mean()
        length = dt * trail.pre.shape[1]
        state = plastic.remember(state, pre, post, signal, length, fresh)
        return plastic.learn(state, modulator, lr)

    def _by_ticks(
        self,
        plastic: Plastic,
        state: PlasticState,
        trail: Trail,
        dt: float,
        signal: Tensor | None,
        modulator: Tensor,
        fresh: Tensor,
        lr: float,
    ) -> PlasticState:
        """Every tick of the decision; the weights change at each where the rule knows it alone."""
        ticks = trail.pre.shape[1]
        silent = None if signal is None else torch.zeros_like(signal)
        for k in range(ticks):
            pre, post = trail.tick(k)
            heard = signal if k == ticks - 1 else silent
            began = fresh if k == 0 else None
            state = plastic.remember(state, pre, post, heard, dt, began)
            if self.rule.needs.every_tick:
                state = plastic.learn(state, modulator, lr)
        return state if self.rule.needs.every_tick else plastic.learn(state, modulator, lr)


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
"""What rules call the time constant of their eligibility."""
