"""Train, evaluate, watch and resume agents: `python train.py --help`. The same as `python -m bio_rl`."""

from bio_rl.__main__ import main

if __name__ == "__main__":
    main()
