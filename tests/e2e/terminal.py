"""A terminal for a program under test, with somebody at the keyboard."""
import fcntl
import os
import pty
import select
import struct
import termios
import time


class Terminal:
    """A program on a terminal of its own, in the foreground as a shell would have it."""

    def __init__(self, command, cwd, env):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], command, env)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.seen = ""

    def until(self, text, limit_s=60):
        end = time.monotonic() + limit_s
        while text not in self.seen:
            assert time.monotonic() < end, "no %r in %r" % (text, self.seen)
            self.read()
        self.seen = self.seen.split(text, 1)[1]

    def read(self, limit_s=0.1):
        """What the program has written by now; a full terminal would stop it."""
        if select.select([self.master], [], [], limit_s)[0]:
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the program ended
                return

    def type(self, keys):
        os.write(self.master, keys.encode())

    def enter(self, line):
        """A line and the return key, apart: pasted together they would be one pasted text."""
        self.type(line)
        self.until(line[-1])
        time.sleep(0.3)
        self.type("\r")

    def status(self, limit_s=30):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
            self.read(0.02)
        raise AssertionError("did not end")
