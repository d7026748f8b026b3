"""The cache explains itself: usage, a header, one line in the log and the metrics say where each prompt's
tokens came from, and all of them say the same."""
import re
import time

from prometheus_client.parser import text_string_to_metric_families

from pensieve import request, user

CANARY = "xylophone-4711"
SYSTEM = "You are a shell assistant. " + " ".join("Rule %d: be brief." % n for n in range(250))
MARK = {"cache_control": {"type": "ephemeral"}}


def ask(text, *, system=SYSTEM, mark=None, **more):
    return user(text, max_tokens=4, system=[{"type": "text", "text": system}],
                **more) | {"messages": [{"role": "user", "content": [{"type": "text", "text": text, **(mark or {})}]}]}


def header(headers):
    found = re.fullmatch(r"hit=(\d+) miss=(\d+) restored=(\d+)", headers["X-Pensieve-Cache"])
    return tuple(map(int, found.groups()))


def parts(usage):
    return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["input_tokens"]


def told(answer):
    """hit, miss, restored of a plain answer, whose usage must say the same."""
    assert answer.status == 200, answer.body
    hit, miss, restored = header(answer.headers)
    read, created, rest = parts(answer.json["usage"])
    assert (hit + restored, miss) == (read, created + rest)
    return hit, miss, restored


def told_by_stream(server, body):
    """Of a prompt that is in memory: asked again where a busy machine took longer than a head waits."""
    for _ in range(10):
        stream = server.stream(body)
        if "X-Pensieve-Cache" in stream.response.headers:
            break
        assert list(stream)[-1][0] == "message_stop"
    hit, miss, restored = header(stream.response.headers)
    events = list(stream)
    start = dict(events)["message_start"]["message"]["usage"]
    end = dict(events)["message_delta"]["usage"]
    assert parts(start) == parts(end), "message_start knows it already"
    assert (hit + restored, miss) == (parts(end)[0], sum(parts(end)[1:]))
    return hit, miss, restored


def metrics(server):
    answer = server.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.body.decode()
    assert CANARY not in text
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for s in family.samples:
            samples[s.name, *sorted(s.labels.values())] = s.value
    return samples


def test_usage_header_log_and_metrics_tell_the_same_over_a_restart(start, tmp_path):
    home = tmp_path / "home"
    first = start(home=home)
    assert re.search(r"remembers +nothing yet", first.log)
    hit, prompt, restored = told(first.post(ask("list the files here")))
    assert (hit, restored) == (0, 0) and prompt > 1100
    assert told(first.post(ask("list the files here"))) == (prompt - 1, 1, 0)
    assert told_by_stream(first, ask("list the files here")) == (prompt - 1, 1, 0)

    # Marked up to the end of its text: behind it stand only <|end|> and <|assistant|>.
    marked = first.post(ask("count the lines of a.txt", mark=MARK)).json["usage"]
    assert marked["input_tokens"] == 2 and marked["cache_creation_input_tokens"] > 0
    assert marked["cache_read_input_tokens"] > prompt - 64
    unmarked = first.post(ask("count the lines of b.txt")).json["usage"]
    assert unmarked["cache_creation_input_tokens"] == 0 and unmarked["input_tokens"] > 0

    chat = {"model": "x", "max_tokens": 4, "messages": [
        {"role": "system", "content": SYSTEM}, {"role": "user", "content": "list the files here"}]}
    openai = first.post(chat, "/v1/chat/completions")
    assert header(openai.headers) == (prompt - 1, 1, 0)
    assert openai.json["usage"]["prompt_tokens"] == prompt
    assert openai.json["usage"]["prompt_tokens_details"] == {"cached_tokens": prompt - 1}

    # A word early in the system text changes: one line says where, and never what.
    changed = SYSTEM.replace("Rule 20:", CANARY + ":")
    assert "prompt tokens were cached" not in first.log
    answer = first.post(ask("list the files here", system=changed))
    hit, miss, _ = told(answer)
    assert miss >= 1024 and hit > 64
    lines = [line for line in first.log.splitlines() if "prompt tokens were cached" in line]
    assert len(lines) == 1, first.log
    assert "%d of %d prompt tokens were cached" % (hit, hit + miss) in lines[0]
    equal = int(re.search(r"behind (\d+) equal tokens", lines[0]).group(1))
    assert hit <= equal < hit + 64 and "in system block 1" in lines[0]
    assert answer.headers["request-id"] in lines[0] and CANARY not in first.log

    assert request(first.port, "GET", "/metrics").status == 401
    seen = metrics(first)
    assert seen["pensieve_requests_total", "/v1/chat/completions", "200"] == 1
    assert seen["pensieve_requests_total", "/v1/messages", "200"] == seen["pensieve_engine_requests_total",] - 1
    assert seen["pensieve_requests_total", "/metrics", "401"] == 1
    tokens = {kind: seen["pensieve_cache_%s_tokens_total" % kind,] for kind in ("hit", "restored", "miss")}
    assert sum(tokens.values()) == seen["pensieve_prompt_tokens_total",]
    assert tokens["restored"] == 0 and tokens["hit"] > 4 * (prompt - 64)
    requests = seen["pensieve_engine_requests_total",]
    assert requests >= 7 and 0 < seen["pensieve_output_tokens_total",] <= requests * 4
    assert seen["pensieve_queue_seconds_count",] == seen["pensieve_prefill_seconds_count",] == requests
    assert seen["pensieve_requests_running",] == seen["pensieve_requests_waiting",] == 0
    assert 0 < seen["pensieve_kv_bytes",] <= seen["pensieve_kv_capacity_bytes",]
    assert seen["pensieve_memory_held_bytes", "kv"] > 0 and seen["process_resident_memory_bytes",] > 0
    first.stop()

    second = start("--log-prompt-text", home=home)
    row = re.search(r"remembers +(\d+) conversations, ([\d,]+) tokens, [\d.]+ [KMG]iB on disk", second.log)
    assert row, second.log
    assert prompt - 64 <= int(row.group(2).replace(",", "")) <= 4 * prompt
    hit, miss, restored = told(second.post(ask("list the files here")))
    assert hit == 0 and restored == (prompt - 1) // 64 * 64 and miss == prompt - restored
    second.post(ask("list the files here", system=SYSTEM.replace("Rule 30:", CANARY + ":")))
    line = next(line for line in second.log.splitlines() if "prompt tokens were cached" in line)
    now, kept = re.search(r': " ?(\w+)" where " ?(\w+)" was', line).groups()
    assert CANARY.startswith(now) and "Rule".startswith(kept), "asked to, the line shows the tokens"
    seen = metrics(second)
    assert seen["pensieve_cache_restored_tokens_total",] >= restored
    assert seen["pensieve_kv_disk_bytes",] > 0 and seen["pensieve_kv_disk_written_bytes_total",] > 0
    second.stop()


def test_a_stream_that_has_to_wait_has_its_head_in_time_and_its_usage_at_the_end(start):
    """The second of two requests with the same long beginning waits until the first has computed it."""
    server = start("--kv-disk", "off")
    assert re.search(r"remembers +off", server.log)
    long = " ".join("Word %d of a long text." % n for n in range(500))
    first = server.stream(user("hello", max_tokens=2, system=long))
    first.until("message_start")
    begin = time.monotonic()
    second = server.stream(user("hello", max_tokens=2, system=long))
    assert second.status == 200 and "X-Pensieve-Cache" not in second.response.headers
    early = second.until("message_start")["message"]["usage"]
    assert time.monotonic() - begin < 2, "200 ms, on a machine that has something else to do as well"
    assert parts(early) == (0, 0, early["input_tokens"]) and early["input_tokens"] > 3000
    late = second.until("message_delta")["usage"]
    assert sum(parts(late)) == early["input_tokens"] and late["cache_read_input_tokens"] > 3000
    first.close()
    second.close()
    server.stop()
