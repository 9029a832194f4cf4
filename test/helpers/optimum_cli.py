"""Runs `optimum-cli export openvino` for several lists of arguments, a JSON array of arrays, in one process."""

import json
import sys

from optimum.commands.optimum_cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["optimum-cli", "export", "openvino", *arguments]
    main()
