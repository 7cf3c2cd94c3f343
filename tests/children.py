"""Processes that a test forks to do one thing at the same time, or to be killed in the middle of it."""

import os
from collections.abc import Callable


def in_child(action: Callable[[], object]) -> int:
    """The id of a process that does `action`, and exits with 0 if it came through.

    It may only write files and exit, as it is forked from a process with threads.
    """
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child
