"""Runs a program that is killed when the process that started it dies, however it died.

`python tether.py PARENT PROGRAM [OPTION…]`; stdlib only. The program keeps this process's id. On Linux by
PR_SET_PDEATHSIG (prctl(2)), which survives exec; elsewhere the program just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("its parent died before it began")
    os.execv(program, sys.argv[2:])


if __name__ == "__main__":
    main()
