"""The mixed traffic of tests/soak: what clients of every kind send, what each must get back, and a tally
of it. What is sent is drawn from seeded generators, and only a conversation depends on what came back."""
import collections
import json
import random
import time

from pensieve import TOKEN, headers_for, reference_cases
from wire import Client, Leave, Lost

WORDS = "list the files in src find all python files count to three what does this do hello grep sort".split()
RULES = ["Rule %d: be brief, and be careful with the file called %s." % (n, w) for n, w in enumerate(WORDS * 6)]
BASH = {"name": "Bash", "description": "Runs a command.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}
COUNT = {"name": "Count", "input_schema": {"type": "object", "properties": {
    "n": {"type": "integer", "minimum": 3, "maximum": 9}, "unit": {"enum": ["a", "b"]}}, "required": ["n"]}}
PLACES = 10          # requests that may run or wait
PLACE_FREE_S = 2.0   # for a request that nobody waits for any more to be gone
# Status and type of a refusal that says "later": Anthropic's, and OpenAI's for a full house.
REFUSALS = {(503, "overloaded_error"), (529, "overloaded_error"), (429, "rate_limit_error")}


class Tally:
    """What happened, by kind of request; everything that must stay empty; and who is under way."""

    def __init__(self):
        self.done = collections.Counter()       # kind -> exchanges that ended as they must
        self.left = collections.Counter()       # way -> clients that left
        self.statuses = collections.Counter()
        self.refused = 0                        # 429, 503 and 529
        self.lost, self.unexplained, self.wrong = [], [], []
        self.running, self.leavers = 0, collections.deque()
        self.short_of_memory = False            # a level from Critical on was asked for

    def occupied(self):
        """The most places that may be taken: requests under way and those whose client left just now."""
        while self.leavers and self.leavers[0] < time.monotonic() - PLACE_FREE_S:
            self.leavers.popleft()
        return self.running + len(self.leavers)

    def accepted(self):
        return sum(self.done.values()) + len(self.lost)


class Traffic:
    """One client that sends one thing after the other."""

    def __init__(self, port, number, seed, tally):
        self.client, self.tally, self.number = Client(port), tally, number
        self.rng = random.Random("%d/%d" % (seed, number))
        self.headers = headers_for(TOKEN)
        self.turns = []   # of this client's own conversation
        self.session = "session-%d" % number
        self.kinds = [(24, self.plain), (24, self.stream), (8, self.reference), (9, self.tools), (8, self.openai),
                      (7, self.count_tokens), (7, self.big_prompt), (6, self.conversation), (5, self.leave),
                      (1, self.malformed), (1, self.refused)]

    def pick(self):
        return self.rng.choices([k for _, k in self.kinds], [w for w, _ in self.kinds])[0]

    async def one(self):
        activity = self.pick()
        if self.rng.random() < 0.3:
            self.client.close()   # the others go on with the connection of before
        try:
            await activity()
            self.tally.done[activity.__name__] += 1
        except Lost as e:
            self.tally.lost.append("%s: %s" % (activity.__name__, e))
        except (AssertionError, KeyError, IndexError, TypeError, ValueError) as e:
            self.tally.wrong.append("%s: %r" % (activity.__name__, e))

    # ---- requests
    async def ask(self, path, body, leave=None, expected=(200,)):
        """The answer, judged as far as every answer must be; None for a refusal or when we left."""
        tally = self.tally
        tally.running += 1
        before = tally.occupied()
        most = before
        try:
            answer = await self.client.ask("POST", path, body, {**self.headers, "x-claude-code-session-id": self.session},
                                           leave)
            most = max(most, tally.occupied())
        finally:
            tally.running -= 1
        if answer is None:
            tally.leavers.append(time.monotonic())
            tally.left[leave.way] += 1
            return None
        tally.statuses[answer.status] += 1
        assert answer.headers.get("request-id") and answer.headers.get("x-memory-status"), answer.headers
        if answer.status in (429, 503, 529):
            self.judge_refusal(answer, most)
            return None
        if answer.status >= 500:
            tally.unexplained.append("%d %s" % (answer.status, answer.body[:300]))
            return None
        assert answer.status in expected, (answer.status, answer.body[:300])
        if not answer.is_stream:
            answer.json
        elif path == "/v1/messages":
            assert answer.terminal, answer.events[-3:]
            if answer.terminal == "error":
                tally.unexplained.append("in a stream: %s" % answer.events[-1][1])
                return None
        else:
            assert answer.events and answer.events[-1][1] == "[DONE]", answer.events[-1:]
        return answer

    def judge_refusal(self, answer, most):
        self.tally.refused += 1
        reason = self.tally.short_of_memory if answer.status == 503 else most > PLACES
        wait_s = answer.headers.get("retry-after", "")
        kind = answer.json["error"]["type"]
        in_words = wait_s.isdigit() and 1 <= int(wait_s) <= 10 and (answer.status, kind) in REFUSALS
        if not reason or not in_words:
            self.tally.unexplained.append("%d with %d under way, retry-after %r: %s" % (
                answer.status, most, wait_s, answer.body[:300]))

    def words(self, n):
        return " ".join(self.rng.choices(WORDS, k=n))

    def body(self, text, max_tokens, **more):
        return {"model": "tiny", "max_tokens": max_tokens, "temperature": self.rng.choice([0, 0, 1]),
                "messages": [{"role": "user", "content": text}], **more}

    # ---- kinds
    async def plain(self):
        answer = await self.ask("/v1/messages", self.body(self.words(8), self.rng.randint(1, 40)))
        if answer:
            assert answer.json["stop_reason"] in ("end_turn", "max_tokens"), answer.body

    async def stream(self):
        answer = await self.ask("/v1/messages", self.body(self.words(8), self.rng.randint(1, 60), stream=True))
        if answer:
            nested(answer.events)

    async def reference(self):
        """Whatever else goes on, a greedy answer is the reference text."""
        case = self.rng.choice(REFERENCE)
        answer = await self.ask("/v1/messages", {**case["request"], "stream": self.rng.random() < 0.5})
        if answer:
            assert answer.text == case["text"], (case["name"], answer.text)

    async def tools(self):
        choice = self.rng.choice([{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "Count"}])
        answer = await self.ask("/v1/messages", self.body(self.words(6), 120, tools=[BASH, COUNT], tool_choice=choice,
                                                          stream=self.rng.random() < 0.5))
        if not answer:
            return
        inputs = tool_inputs(answer)
        assert inputs or choice["type"] == "auto", answer.body
        for name, value in inputs:
            if name == "Count":
                assert 3 <= value["n"] <= 9 and value.get("unit") in (None, "a", "b"), value
            else:
                assert isinstance(value["command"], str), value

    async def openai(self):
        body = {"model": "tiny", "max_tokens": self.rng.randint(1, 30), "stream": self.rng.random() < 0.5,
                "messages": [{"role": "user", "content": self.words(6)}]}
        await self.ask("/v1/chat/completions", body)

    async def count_tokens(self):
        body = {"model": "tiny", "messages": [{"role": "user", "content": self.words(self.rng.choice([3, 30, 300]))}]}
        answer = await self.ask("/v1/messages/count_tokens", body)
        if answer:
            assert answer.json["input_tokens"] > 0

    async def big_prompt(self):
        """System prompts of some hundred tokens that come again: hits in memory, restores, evictions."""
        system = " ".join(RULES[self.rng.randrange(24):][:self.rng.choice([12, 24, 36])])
        await self.ask("/v1/messages", self.body(self.words(5), self.rng.randint(1, 8), system=system))

    async def conversation(self):
        """The client's own, turn by turn, until it grows too long for the window."""
        if len(self.turns) > 10:
            self.turns = []
        self.turns.append({"role": "user", "content": self.words(20)})
        answer = await self.ask("/v1/messages", {**self.body("", 30), "messages": self.turns})
        if answer is None:
            self.turns.pop()
        else:
            self.turns.append({"role": "assistant", "content": answer.text or "."})

    async def leave(self):
        way = self.rng.choice(["fin", "rst", "half"])
        streamed = self.rng.random() < 0.5
        body = self.body(self.words(self.rng.choice([8, 300])), 300, stream=streamed)
        when = self.rng.randrange(3)
        if when == 0:
            leave = Leave(way, sent=self.rng.randrange(1, 600))
        elif when == 1 and streamed:
            leave = Leave(way, events=self.rng.randrange(0, 12))
        else:
            leave = Leave(way, after_s=self.rng.choice([0.0, 0.002, 0.02, 0.1]))
        await self.ask("/v1/messages", body, leave)

    async def malformed(self):
        """Bytes that are no request: one answer that says so, and the end of the connection."""
        got = await Client(self.client.port).raw(self.rng.choice(MALFORMED), 30)
        status = int(got.split(b" ", 2)[1])
        self.tally.statuses[status] += 1
        assert got.startswith(b"HTTP/1.1 ") and 400 <= status < 500 or status in (501, 505), got[:300]
        assert b"\r\nrequest-id: " in got.lower(), got[:300]

    async def refused(self):
        """Requests that are well framed and wrong."""
        path, body, status = self.rng.choice(WRONG)
        answer = await self.ask(path, body, expected=(status,))
        assert answer is None or answer.json["error"]["message"], answer.body


REFERENCE = [c for c in reference_cases() if len(c["ids"]) <= 600]
HOST = b"Host: 127.0.0.1\r\n"
MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n",
    b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"b" * 40000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: 1\r\n" % i for i in range(120)) + b"\r\n",
    b"\0" * 4096 + b"\r\n\r\n",
]
WRONG = [
    ("/v1/messages", b"{\"model\": \"tiny\", \"messages\": [", 400),
    ("/v1/messages", b"\xff\xfe", 400),
    ("/v1/messages", {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}, 400),   # no max_tokens
    ("/v1/messages", {"model": "tiny", "max_tokens": 1, "messages": "x"}, 400),
    ("/v1/messages", b"[" * 20000, 400),
    ("/v1/messages", {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "q7" * 10000}]}, 400),
    ("/v1/chat/completions", {"model": "tiny", "messages": 5}, 400),
    ("/v1/nothing", {}, 404),
    ("/health", {}, 405),
]


def nested(events):
    """Indexes and the nesting of a stream's events, and one message_stop or error as the last."""
    names = [name for name, _ in events if name != "ping"]
    assert names[0] == "message_start" and names.count("message_start") == 1, names[:3]
    open_block, next_index = None, 0
    for name, data in events:
        assert data["type"] == name, (name, data)
        if name == "content_block_start":
            assert open_block is None and data["index"] == next_index, data
            open_block, next_index = next_index, next_index + 1
        elif name == "content_block_delta":
            assert data["index"] == open_block, data
        elif name == "content_block_stop":
            assert data["index"] == open_block, data
            open_block = None
    assert open_block is None and names[-2:] == ["message_delta", "message_stop"], names[-3:]


def tool_inputs(answer):
    """(name, input) of every tool call of an answer."""
    if not answer.is_stream:
        return [(b["name"], b["input"]) for b in answer.json["content"] if b["type"] == "tool_use"]
    nested(answer.events)
    calls, pieces = {}, collections.defaultdict(str)
    for name, data in answer.events:
        if name == "content_block_start" and data["content_block"]["type"] == "tool_use":
            calls[data["index"]] = data["content_block"]["name"]
        elif name == "content_block_delta" and data["delta"]["type"] == "input_json_delta":
            pieces[data["index"]] += data["delta"]["partial_json"]
    return [(name, json.loads(pieces[index] or "{}")) for index, name in calls.items()]
