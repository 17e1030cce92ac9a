"""Network reset: weights shrink where noradrenaline says that the world has changed.

    NE rises above θ:  W ← (1 - ρ) W        ρ: the share that is given up (modulators.noradrenaline)

What was learned of a world that is no more keeps an agent from learning the next one; small weights
have no preference, and explore. Bouret & Sara 2005.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl.modulators.noradrenaline import Noradrenaline, NoradrenalineState

NORADRENALINE = Noradrenaline(tau_fast=50.0, tau_slow=5000.0, threshold=0.7)
"""Errors of learning CartPole stay below 0.65 (8 lives, prediction errors recorded); those after an
inversion exceed 0.75.
"""


def reset_on_surprise(
    weight: Tensor, before: NoradrenalineState, rpe: Tensor, share: float
) -> NoradrenalineState:
    """The state of noradrenaline after prediction errors rpe [G·B]; the weights [G, post, pre] of G
    seeds shrink in place, by `share` times the part of a seed's rows in which it asks for a reset.
    """
    _, after = NORADRENALINE.step(before, rpe)
    resets = NORADRENALINE.resets(before, after)
    if bool(resets.any()):
        part = resets.to(rpe.dtype).view(len(weight), -1).mean(1)
        weight *= (1.0 - share * part).view(-1, 1, 1)
    return after
