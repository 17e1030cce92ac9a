"""Commands, one a file: `bio-rl NAME` is `main(arguments)` of NAME.py, which takes the words that
follow the name. `Flags` there are its flags, each with its help.
"""
