"""What learning algorithms are made of: observations, distributions, critics, returns, losses,
replay.
"""
