"""How a worker is asked and answers.

It reads one JSON request, a line on standard input, and writes JSON-line events to file descriptor 3. Whatever the
libraries print goes to the log. When standard input closes, whoever asked is gone, and the worker ends.
"""

import json
import os
import sys
import threading


class Refused(Exception):
    """What was asked for cannot be made of this model: said to the user as it is, with what to do instead."""

    kind = "refused"

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


class Misused(Refused):
    """The same of settings or data that do not fit the model: the user's mistake."""

    kind = "misused"


class Damaged(Exception):
    """What was to be read is no whole file of its kind: said with the file's name, to be fetched anew."""


class Unreachable(Exception):
    """What a conversion may fetch, such as data for calibration, did not come."""


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
    except Refused as refusal:
        emit("error", kind=refusal.kind, message=str(refusal), **({"hint": refusal.hint} if refusal.hint else {}))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - everything is reported, with its traceback in the log
        # First: on a full disk the log takes nothing any more.
        emit("error", kind=type(error).__name__, message=str(error))
        import traceback

        traceback.print_exc()
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
            # In the log too: most libraries that look for something swallow the error.
            print(f"refused to connect: {address}", file=sys.stderr)
            raise PermissionError(f"a worker opens no connections, not to {address}")

    sys.addaudithook(refuse)


def end_with_parent():
    # Not sys.stdin: a thread that waits in it holds a lock that Python needs when it ends.
    while os.read(0, 1):
        pass
    os._exit(2)
