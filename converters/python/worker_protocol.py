"""How a worker is asked and answers.

It reads one JSON request, a line on standard input, and writes JSON-line events to file descriptor 3. Whatever the
libraries print goes to the log. When standard input closes, whoever asked is gone, and the worker ends.
"""

import json
import os
import sys
import threading


class Refused(Exception):
    """A model or a request that cannot be converted: why, and what to do instead."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


def serve(jobs):
    """Runs the job that the request names: a function of the request and of `emit`, which returns the result's fields."""
    request = json.loads(sys.stdin.readline())
    if not request.get("network", False):
        forbid_connections()
    threading.Thread(target=end_with_parent, daemon=True).start()
    events = os.fdopen(3, "w", encoding="utf-8")

    def emit(event, **fields):
        events.write(json.dumps({"type": event, **fields}) + "\n")
        events.flush()

    try:
        result = jobs[request["job"]](request, emit)
    except Exception as error:  # noqa: BLE001 - everything is reported, with its traceback in the log
        import traceback

        traceback.print_exc()
        kind, hint = type(error).__name__, getattr(error, "hint", None)
        emit("error", kind=kind, message=str(error), **({"hint": hint} if hint else {}))
        sys.exit(1)
    emit("result", **result)


def forbid_connections():
    """Libraries look for updates, models and fonts on their own; what a conversion needs is here."""

    def refuse(event, arguments):
        if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            return
        address = arguments[1] if event != "socket.getaddrinfo" else arguments[0]
        # Sockets that processes of one machine talk through have names of files.
        if event == "socket.getaddrinfo" or isinstance(address, tuple):
            raise PermissionError(f"a worker opens no connections, not to {address}")

    sys.addaudithook(refuse)


def end_with_parent():
    # Not sys.stdin: a thread that waits in it holds a lock that Python needs when it ends.
    while os.read(0, 1):
        pass
    os._exit(2)
