"""Rendering beside the other libraries of a process."""

import importlib.util
import subprocess
import sys

import pytest

from bio_rl.vector.rendering import can_render

DRAW_THEN_LEARN = """
import gymnasium as gym
import bio_rl
env = gym.make("bio_rl/Reach-v0", render_mode="rgb_array")
env.reset()
env.render()
import torch
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
"""


@pytest.mark.skipif(
    not can_render() or not importlib.util.find_spec("triton"), reason="needs rendering and Triton"
)
def test_a_process_that_has_drawn_can_still_make_an_optimiser():
    done = subprocess.run([sys.executable, "-c", DRAW_THEN_LEARN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
