"""Train, evaluate, watch and resume agents: `python train.py --help`.

The same as `python -m bio_rl`.
"""

import signal

if (
    __name__ == "__main__"
):  # Ctrl-C during the import below ends the process at once, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from bio_rl.__main__ import main

if __name__ == "__main__":
    main()
