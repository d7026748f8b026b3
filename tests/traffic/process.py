"""What the system says about a process (Linux): memory that is its own, descriptors, threads, CPU time;
and a pace that keeps server and client together under a share of one core."""
import asyncio
import os
import re
import resource
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def own_memory_kib(pid):
    """RssAnon + RssShmem: not the mapped weights, which the kernel may drop."""
    text = Path("/proc/%d/status" % pid).read_text()
    return sum(int(re.search(r"^%s:\s+(\d+)" % field, text, re.M).group(1)) for field in ("RssAnon", "RssShmem"))


def threads(pid):
    return int(re.search(r"^Threads:\s+(\d+)", Path("/proc/%d/status" % pid).read_text(), re.M).group(1))


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def cpu_s(pid):
    fields = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Pace:
    """Lets its callers go on one by one, only while the process and this one together have used less
    than `share` of one core since the beginning. `share` 0: at once."""
    AHEAD_S = 1.0   # of CPU time, so that several requests are under way together

    def __init__(self, pid, share):
        self.pid, self.share = pid, share
        self.begin, self.spent = time.monotonic(), self._used()
        self.turn_of = asyncio.Lock()

    def _used(self):
        mine = resource.getrusage(resource.RUSAGE_SELF)
        return cpu_s(self.pid) + mine.ru_utime + mine.ru_stime

    async def turn(self, until):
        async with self.turn_of:
            while (self.share > 0 and time.monotonic() < until and
                   self._used() - self.spent > self.AHEAD_S + self.share * (time.monotonic() - self.begin)):
                await asyncio.sleep(0.05)

    def used_share(self):
        return (self._used() - self.spent) / (time.monotonic() - self.begin)
