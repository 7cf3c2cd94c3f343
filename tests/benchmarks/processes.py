"""Processor time and memory of processes, a whole tree of them, as Linux counts them."""

import os
from collections import defaultdict
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int | str = "self") -> float:
    """What a process holds in memory now, that shared with others included."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Processor time of a process and all that descend from it, those that have ended and were waited for included."""
    children, spent = defaultdict(list), {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            children[int(fields[1])].append(int(folder.name))
            spent[int(folder.name)] = sum(map(int, fields[11:15])) * TICK_S  # user, system, and both of ended children
    waiting, total = [pid], 0.0
    while waiting:
        one = waiting.pop()
        total += spent.get(one, 0.0)
        waiting += children[one]
    return total
