"""The machine below a program: memory, files, locks, signals, packages and streams."""
