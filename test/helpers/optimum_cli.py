"""Runs `optimum-cli export openvino` for several lists of arguments, a JSON array of arrays.

Each runs in a fork of a process that has loaded the libraries, since names in an IR count what a process made before.
"""

import json
import os
import sys

import optimum.exporters.openvino.__main__  # noqa: F401 - loads what an export needs
from optimum.commands.optimum_cli import main

for arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.argv = ["optimum-cli", "export", "openvino", *arguments]
        main()
        sys.stdout.flush()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"optimum-cli failed with {arguments}")
