"""Processes of one study on this machine: found by the folder that its commands were given, so that no other study's is met."""

import os
import signal
import time
from pathlib import Path

TRIAL_S = 90.0


def kill_a_trial(folder: Path, patience_s: float = TRIAL_S) -> bool:
    """Kills a process of Ray's that runs a trial, as the kernel does when memory runs out; whether one was found in time.

    Args:
        folder: that the environment of the study's command names.
    """
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                title, environment = (process / "cmdline").read_text(), (process / "environ").read_bytes()
            except OSError:
                continue
            is_trial = title.startswith("ray::") and "StudyTrainable" in title and "train" in title
            if is_trial and f"STUDY_OUTPUT={folder}/".encode() in environment:
                os.kill(int(process.name), signal.SIGKILL)
                return True
        time.sleep(0.05)
    return False
