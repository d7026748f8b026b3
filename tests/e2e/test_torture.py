"""The i-th call of the system fails, once or from then on, while the real server answers: no crash, no
hang, no torn file, nothing kept. Whoever asked gets an answer, an error, or the end of the connection;
when the fault is over everything is as before. Many points by hand, the counts are printed:

    PENSIEVE_FAULTS=2000 tests/run -k torture
"""
import asyncio
import collections
import http.client
import os
import random
import signal
import subprocess
import time

import pytest

import faults
from pensieve import BINARY, TOKEN, Server, endless, environment, eventually, headers_for, reference_cases, user
from wire import Client, Leave, Lost

pytestmark = pytest.mark.alone

N_FAULTS = int(os.environ.get("PENSIEVE_FAULTS", "16"))
HANG_S = 30          # a busy machine computes for seconds; what hangs hangs for good
ARMED_S = 0.5       # how long a fault that stays is kept up when nothing comes
WRITTEN_S = 0.1     # behind an answer, for its pages to reach the disk
NEVER = 1 << 60
HEADERS = headers_for(TOKEN)
TOOL = {"name": "Count", "input_schema": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}},
                                          "required": ["n"]}}
RULES = " ".join("Rule %d: be brief with files." % n for n in range(60))
CASE = {c["name"]: c for c in reference_cases()}["tool-ls"]
# How many calls of a kind a scenario makes at most, roughly: which of them fails is drawn below that.
REACH = {"malloc": 1500, "recv": 4, "send": 5, "accept": 3, "epoll": 4, "open": 6, "read": 8, "write": 6, "fsync": 3,
         "rename": 4, "mmap": 2}


class World:
    """What a scenario needs: the port, and a number that nobody had before."""

    def __init__(self, port):
        self.port, self.number = port, 0

    async def ask(self, method, path, body=None, leave=None):
        """What the client got: a status, "stream" or "error" for how a stream ended, "closed" for nothing or
        half of it, "left"."""
        client = Client(self.port)
        try:
            answer = await client.ask(method, path, body, HEADERS, leave, limit_s=60)
        except Lost:
            return "closed"
        finally:
            client.close()
        if answer is None:
            return "left"
        if answer.is_stream:
            last = answer.events[-1] if answer.events else (None, None)
            return {"message_stop": "stream", "error": "error"}.get(answer.terminal, "stream" if last[1] == "[DONE]" else "closed")
        if answer.status != 200:
            assert answer.json["error"]["message"], answer.body
        return answer.status


async def plain(world):
    return await world.ask("POST", "/v1/messages", user("hello", max_tokens=8))


async def stream(world):
    return await world.ask("POST", "/v1/messages", {**user("hello", max_tokens=8), "stream": True})


async def tools(world):
    body = user("count", max_tokens=40, tools=[TOOL], tool_choice={"type": "any"}, stream=bool(world.number % 2))
    return await world.ask("POST", "/v1/messages", body)


async def openai(world):
    body = {"model": "x", "max_tokens": 6, "stream": bool(world.number % 2), "messages": [{"role": "user", "content": "hello"}]}
    return await world.ask("POST", "/v1/chat/completions", body)


async def completion(world):
    return await world.ask("POST", "/v1/completions", {"model": "x", "max_tokens": 6, "prompt": "hello"})


async def counted(world):
    return await world.ask("POST", "/v1/messages/count_tokens", {"model": "x", "messages": [{"role": "user", "content": RULES}]})


async def new_prompt(world):
    """Pages that nobody has: computed, then written to the disk."""
    got = await world.ask("POST", "/v1/messages", user("go", max_tokens=2, system="%d: %s" % (world.number, RULES)))
    await asyncio.sleep(WRITTEN_S)
    return got


async def old_prompt(world):
    """Pages that were dropped from memory since: read back from the disk."""
    return await world.ask("POST", "/v1/messages", user("go", max_tokens=2, system="%d: %s" % (world.number % 12, RULES)))


async def looking(world):
    got = [await world.ask("GET", path) for path in ("/health", "/metrics", "/v1/models")]
    return next((g for g in got if g != 200), 200)


async def refused(world):
    got = [await world.ask("POST", path, body) for path, body in (("/v1/messages", b"{\"model\": ["), ("/v1/none", {}))]
    return got[world.number % 2]


async def large_body(world):
    return await world.ask("POST", "/v1/messages", user("q7 " * 100_000, max_tokens=2))


async def leaving(world):
    return await world.ask("POST", "/v1/messages", {**endless(1), "stream": True}, Leave("rst", events=3))


async def crowd(world):
    """More than have a place."""
    got = await asyncio.gather(*(stream(world) for _ in range(12)))
    return collections.Counter(map(str, got)).most_common(1)[0][0]


SCENARIOS = (plain, stream, tools, openai, completion, counted, new_prompt, old_prompt, looking, refused, large_body,
             leaving, crowd)


FILES = (new_prompt, old_prompt)
REACHES = {"open": FILES, "read": FILES, "write": FILES, "fsync": FILES, "rename": FILES, "mmap": FILES}


async def under_fault(world, fault, scenario, call, first, persistent):
    """One fault -> (how the scenario ended, calls seen, calls failed). Ends within HANG_S once it is over."""
    world.number += 1
    fault.arm(call, first, persistent)
    task = asyncio.create_task(scenario(world))
    await asyncio.wait([task], timeout=ARMED_S)
    seen, failed = fault.disarm()
    await asyncio.wait([task], timeout=HANG_S)
    assert task.done(), "hangs: %s with %s %d" % (scenario.__name__, call, first)
    return task.result(), seen, failed


def at_rest(server, files):
    engine = server.get("/health").json["engine"]
    return engine["running"] == engine["waiting"] == 0 and len(os.listdir("/proc/%d/fd" % server.pid)) <= files


def harm(server, files):
    """What a fault that is over has left behind; None: nothing."""
    try:
        eventually(lambda: at_rest(server, files), HANG_S, "nothing under way, descriptors as before")
        return None
    except (OSError, AssertionError, http.client.HTTPException) as e:
        try:
            server.process.wait(1)
            return "the server ended with %d: %s" % (server.process.returncode, server.log[-600:])
        except subprocess.TimeoutExpired:
            return "%r, %s" % (e, server.get("/health").body)


class Torture:
    """A server under faults; another one takes its place when one has done it harm."""

    def __init__(self, home, library, tell):
        self.tell = tell
        self.home, self.fault = home, faults.Faults(library, home / "control")
        self.server, self.harmed, self.number = None, [], 0
        self.begin()

    def begin(self):
        self.fault.disarm()
        self.number += 1
        self.server = Server(self.home / str(self.number), "--context", 2048, "--kv-disk", "48MiB", "--log-level", "error",
                             env=self.fault.env)
        self.world = World(self.server.port)
        try:
            for scenario in SCENARIOS:
                self.run(scenario, "malloc", NEVER, False)
        except BaseException:
            self.server.kill()
            raise
        time.sleep(0.5)
        self.files = self.server.open_files()

    def run(self, scenario, call, first, persistent):
        return asyncio.run(under_fault(self.world, self.fault, scenario, call, first, persistent))

    def try_one(self, scenario, call, first, persistent):
        """-> (how the scenario ended, calls seen, calls failed)."""
        got = seen = failed = 0
        try:
            got, seen, failed = self.run(scenario, call, first, persistent)
            found = harm(self.server, self.files)
        except AssertionError as e:
            found = str(e)
        if found is not None:
            self.tell("%s %s %d %s %s", scenario.__name__, call, first, persistent, found)
            self.harmed.append("%s, %s %d%s: %s" % (scenario.__name__, call, first, " and on" if persistent else "", found))
            self.server.kill()
            self.begin()
        return got, seen, failed


def test_torture_what_the_system_refuses_while_the_server_answers(tmp_path, tmp_path_factory, tell):
    torture = Torture(tmp_path, faults.library(tmp_path_factory.mktemp("faults")), tell)
    rng = random.Random(59)
    ends, failed_calls, places = collections.Counter(), collections.Counter(), set()
    try:
        while sum(failed_calls.values()) < N_FAULTS:
            call = rng.choice(sorted(REACH) + ["malloc"] * 4)
            scenario = rng.choice(REACHES.get(call, SCENARIOS))
            first = rng.randrange(REACH[call])
            persistent = rng.random() < 0.5
            got, _, failed = torture.try_one(scenario, call, first, persistent)
            if failed:
                ends[call, str(got)] += 1
                failed_calls[call] += 1
                places.add((scenario, call, first, persistent))
        answer = torture.server.post(CASE["request"])
        assert answer.status == 200 and answer.text == CASE["text"]
        torture.server.stop()
    finally:
        torture.server.kill()
    for call in sorted(REACH):
        tell("%-7s %4d faults: %s", call, failed_calls[call],
             ", ".join("%s %d" % (got, n) for (c, got), n in sorted(ends.items()) if c == call))
    tell("%d faults, %d different ones, in %d scenarios; %d with harm", sum(failed_calls.values()), len(places),
         len(SCENARIOS), len(torture.harmed))
    assert not torture.harmed, "\n".join(torture.harmed)
