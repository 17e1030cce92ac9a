"""Many copies of a world stepped as one, and the public bases for worlds that are fast that way.

`make(env, num_envs)` builds what the training loop steps. A fast world of your own extends
`native.NativeVectorEnv`, `trials.TrialVectorEnv` or `mujoco.BatchVectorEnv`; `perturb` holds the
faults that a world can be given.
"""

from bio_rl.vector.adapter import Ended, SideBySide, Step, Vector, find_id, make, probe

__all__ = ["make", "find_id", "probe", "Vector", "SideBySide", "Step", "Ended"]
