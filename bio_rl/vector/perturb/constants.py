"""Perturbations of the constants in a world's own equations of motion, for every row by itself."""

from typing import Any, ClassVar

import numpy as np

from bio_rl.vector.perturb.effect import Effect, Fields, pick
from bio_rl.vector.perturb.layer import Layer
from bio_rl.vector.perturb.text import Perturbation
from bio_rl.vector.perturb.world import Formula


class Constant(Effect):
    """A factor of one constant of the world, or of several that a target tells apart."""

    parts: ClassVar[dict[str, str]] = {"": ""}
    """{target: name in the world's `constants`}."""

    def __init__(self, world: Formula, spec: Perturbation) -> None:
        super().__init__(world, spec)
        parts = {target: name for target, name in self.parts.items() if name in world.constants}
        if len(parts) == 1:
            self.no_target()
        self.writes = tuple(pick(self.target, parts, "part"))

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Scale the constants."""
        for name in self.writes:
            fields[name][rows] *= self.amount[rows]


class Gravity(Constant):
    """gravity=s: s times the gravity; 0 is weightless, negative turns up and down around."""

    parts: ClassVar[dict[str, str]] = {"": "gravity"}


class Mass(Constant):
    """mass[:PART]=s: s times the mass of the pole or the cart, or of both."""

    bounds = (1e-3, 1e3)
    parts: ClassVar[dict[str, str]] = {"pole": "pole_mass", "cart": "cart_mass"}


class Length(Constant):
    """length=s: a pole s times as long, of the same mass."""

    bounds = (0.05, 20.0)
    parts: ClassVar[dict[str, str]] = {"": "length"}


class Force(Constant):
    """force=s: s times the force or torque that an action stands for; negative turns left and right
    around.
    """

    parts: ClassVar[dict[str, str]] = {"": "force"}


def attach(layer: Layer, constants: dict[str, float]) -> dict[str, Any]:
    """The constants with arrays [N], which the layer writes, in place of those that a perturbation
    names.
    """
    n = layer.world.num_envs
    arrays = {name: np.full(n, constants[name]) for name in layer.writes}
    nominal = {name: np.asarray(constants[name]) for name in arrays}
    layer.attach(arrays, nominal)

    return constants | arrays


KINDS: dict[str, type[Effect]] = {
    "gravity": Gravity,
    "mass": Mass,
    "length": Length,
    "force": Force,
}
