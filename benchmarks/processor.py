"""Who used the processor meanwhile, from /proc: so that a figure from a busy machine can be told from a quiet one."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


_POLICIES = {os.SCHED_OTHER: "ordinary", os.SCHED_FIFO: "real-time (FIFO)", os.SCHED_RR: "real-time (round robin)"}


def scheduling() -> str:
    """How this process and all that it starts are scheduled; `chrt -r 1` shuts out whatever else runs."""
    return _POLICIES.get(os.sched_getscheduler(0), "other")


def parents() -> dict[int, int]:
    """Every process of this machine and its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found[int(entry.name)] = int(fields[1])
    return found


def descendants(root: int) -> set[int]:
    """All processes that `root` has started, directly or not."""
    known = parents()
    found: set[int] = set()
    for process in known:
        line, at = [process], process
        while at in known and at != root:
            at = known[at]
            line.append(at)
        if at == root:
            found.update(line[:-1])
    return found - {root}


def used_s(process: int) -> float:
    """User and system time of a process so far, all threads; 0 when it is gone."""
    fields = _stat(process)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _busy_s() -> float:
    """Time that all cores have worked, for anybody (proc(5): user, nice, system, irq, softirq, steal)."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of processor time so far: one process, the others that we started, and the whole machine."""

    server_s: float
    client_s: float
    machine_s: float

    def since(self, earlier: "Usage", wall_s: float) -> dict[str, float]:
        """Percent of one core, each; "others" is what ran beside the measurement."""
        server, client = self.server_s - earlier.server_s, self.client_s - earlier.client_s
        others = self.machine_s - earlier.machine_s - server - client
        shares = {"server": server, "client": client, "others": max(0.0, others)}
        return {name: round(100 * value / wall_s, 1) for name, value in shares.items()}


def usage(server: int) -> Usage:
    """Usage now; the clients are what this process has started beside the server."""
    clients = descendants(os.getpid()) - {server}
    return Usage(used_s(server), sum(used_s(each) for each in clients), _busy_s())
