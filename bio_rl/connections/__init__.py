"""Synapses, one kind a file: what the spikes of one layer do to the drive of the next.

Each file has a class `Connection(nn.Module)`, made with n_pre, n_post (a convolution: its channels)
and its own settings, with `initial_state(batch)` (nested tuples of [B, ...] tensors, () where there
is none) and `forward(spikes, state, dt=1.0)` for one tick of dt ms: spikes [B, pre] to (drive [B,
post], state). Kinds without state take any leading axes, [..., pre]. State is never hidden in the
module, one of another batch is an error, and every kind is differentiable through spikes and
weights.
"""
