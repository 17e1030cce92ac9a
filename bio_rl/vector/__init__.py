"""Many copies of a world stepped as one, and the public bases for worlds that are fast that way.

`make(env, num_envs)` builds what the training loop steps, in the interface `TensorVectorEnv`. A
fast world of your own extends `NativeVectorEnv`, `TrialVectorEnv` or, for a robot,
`mujoco.BatchVectorEnv`, and `SingleEnv` makes the single form of it (docs/fast_worlds.md);
`perturb` holds the faults that a world can be given.
"""

from bio_rl.vector.adapter import Vector
from bio_rl.vector.factory import find_id, make, probe
from bio_rl.vector.interface import Ended, Step, TensorVectorEnv
from bio_rl.vector.labels import Names, names
from bio_rl.vector.native import NativeVectorEnv
from bio_rl.vector.side_by_side import SideBySide
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import TrialVectorEnv

__all__ = [
    "make",
    "find_id",
    "probe",
    "TensorVectorEnv",
    "Vector",
    "SideBySide",
    "Names",
    "names",
    "Step",
    "Ended",
    "NativeVectorEnv",
    "TrialVectorEnv",
    "SingleEnv",
]
