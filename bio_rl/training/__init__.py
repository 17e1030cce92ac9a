"""A run from its settings to its folder: building, the training loop, checkpoints, evaluation.
`api` is the front.
"""
