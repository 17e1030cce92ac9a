"""Ranges in which `tune` looks for settings that many agents have."""

from __future__ import annotations

from bio_rl.checks import Among, Between

DISCOUNT = Among((0.9, 0.95, 0.98, 0.99, 0.995))
"""The discount γ per step: horizons of 10 to 200 steps."""
TRACE = Among((0.0, 0.5, 0.8, 0.9, 0.95))
"""The decay λ of traces per step."""
ADAM = Between(1e-4, 5e-3, log=True)
"""The learning rate of Adam."""
LOCAL = Between(1e-3, 1.0, log=True)
"""The learning rate of synapses that a local rule teaches."""
LOG_STD = Between(-2.0, 0.5)
"""The initial log standard deviation of continuous actions."""
