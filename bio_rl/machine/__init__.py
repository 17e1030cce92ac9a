<<<<<<< HEAD
"""What a program needs of the machine below it: memory, files, locks, signals, packages,
streams.
"""
=======
"""The machine below a program: memory, files, locks, signals, packages and streams."""
>>>>>>> h17-training
