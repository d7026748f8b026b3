"""Faults on purpose in the real binary: compiles faults.c, and steers it through the file that both
sides map."""
import mmap
import shutil
import struct
import subprocess
import sys

import pytest

from pensieve import BINARY, ROOT

CALLS = ("none", "malloc", "mmap", "open", "read", "write", "fsync", "rename", "accept", "recv", "send", "thread",
         "epoll")
PAGE = 4096


def library(directory):
    """The library to preload; skips the test where it cannot work."""
    if sys.platform != "linux" or "dev" in BINARY:
        pytest.skip("needs ELF and a binary whose malloc is the C library's")
    path = directory / "faults.so"
    compiler = shutil.which("cc") or shutil.which("g++")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-x", "c", "-o", path,
                    ROOT / "tests" / "e2e" / "faults.c", "-ldl"], check=True)
    return path


class Faults:
    """What one program is to suffer. `env` belongs into its environment."""

    def __init__(self, library_path, control_path):
        control_path.write_bytes(b"\0" * PAGE)
        with open(control_path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), PAGE)
        self.env = {"LD_PRELOAD": str(library_path), "FAULT_CONTROL": str(control_path)}

    def _put(self, offset, layout, *values):
        struct.pack_into(layout, self.shared, offset, *values)

    def arm(self, call, first, persistent=False, trigger=None):
        """The call after `first` others of its kind fails, with `persistent` all behind it too; counted from
        now on, or from the moment a file whose name ends in `trigger` is opened."""
        self.disarm()
        self._put(4, "=i", int(persistent))
        self._put(8, "=qqq", first, 0, 0)
        if trigger is not None:
            self._put(52, "=64s", trigger.encode())
        self._put(48 if trigger is not None else 0, "=i", CALLS.index(call))

    def disarm(self):
        """No fault any more -> (calls of the kind since it was armed, how many of them failed)."""
        self._put(48, "=i", 0)
        self._put(0, "=i", 0)
        return struct.unpack_from("=qq", self.shared, 16)

    def held(self):
        """(blocks, bytes) of memory that the program has allocated and not freed."""
        return struct.unpack_from("=qq", self.shared, 32)
