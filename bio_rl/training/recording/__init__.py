"""Full records of what a brain does, as arrays and as files.

recording = record(agent, env, seed=0, decisions=50)      greedy, or record_life of one that learns
cue = recording.events("cue")                             edges at which a cue appears
recording.around("dopamine", cue, before=5, after=20)     [events, 25], what dopamine did then
recording.save("life.npz")                                also .csv and .nwb
"""

from bio_rl.training.recording.data import Recording
from bio_rl.training.recording.record import record, record_life, record_window

__all__ = ["Recording", "record", "record_life", "record_window"]
