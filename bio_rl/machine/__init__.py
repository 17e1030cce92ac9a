"""What a program needs of the machine below it: memory, files, locks, signals, packages,
streams.
"""
