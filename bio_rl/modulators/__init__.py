"""Neuromodulators, one a file: functions of [B] tensors that gate plasticity rules
(`bio_rl.plasticity`).
"""
