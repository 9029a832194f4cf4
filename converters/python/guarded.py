"""Runs a module as `python -m` does, and ends when standard input closes.

Whoever started it is gone then, perhaps without having been able to end it, and an installer left alone would go on
writing into an environment that another process makes anew: it, or a program that it started.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_parent():
    while os.read(0, 1):
        pass
    # Started as the leader of a group, where the system knows groups.
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(2)


if __name__ == "__main__":
    # This file's directory, which `python -m` would not search.
    sys.path.pop(0)
    sys.argv = sys.argv[1:]
    threading.Thread(target=end_with_parent, daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
