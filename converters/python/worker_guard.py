"""Keeps a worker to its own directories, whatever its libraries try.

Their settings for where they keep files are set as well; this is for what they miss. A library that is refused here meets
the error that a read-only disk would give it. It is no wall against code that means harm: only Python's own doors are
watched.
"""

import os
import sys

CHANGING = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}
"""Audit events of Python with the positions of the paths that they create, change or remove."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NOWHERE = ("/dev/null", "nul")


def confine(directories):
    """From now on nothing is written but below these directories. It cannot be undone."""
    roots = tuple(os.path.realpath(directory) + os.sep for directory in directories)

    def refuse_outside(path, follow):
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(path)
        # What a link leads to would be written to, but the link itself removed.
        directory, name = os.path.split(os.path.abspath(path))
        real = os.path.realpath(path) if follow else os.path.join(os.path.realpath(directory), name)
        if (real + os.sep).startswith(roots) or path.lower() in NOWHERE:
            return
        print(f"refused to write outside the conversion: {real}", file=sys.stderr)
        raise PermissionError(13, "writing outside the conversion's own directories", path)

    def watch(event, arguments):
        if event == "open":
            path, _mode, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                refuse_outside(path, True)
        elif event in CHANGING:
            # Relative to a directory that is open, and was come by through its name.
            relative = isinstance(arguments[-1], int) and arguments[-1] >= 0 and event != "os.truncate"
            for position in CHANGING[event]:
                if not relative:
                    refuse_outside(arguments[position], event == "os.truncate")

    sys.addaudithook(watch)
