"""The real Claude Code client, two versions of it, on the embedded model: one question, a tool loop,
streaming, going on, a schema, an error, a window that is too small, and several sessions at once.
Each test prints what it saw (pytest -rA)."""
import json
import re
import sys

import pytest

from claude_code import SMALL_TOOLS, VERSIONS, Client, Recorder, Session, a_tool_call, client, skip_onboarding
from pensieve import Server, at_once, eventually
from terminal import Terminal


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    assert client(request.param).exists(), "tests/run installs the clients"
    return request.param


@pytest.fixture(scope="module")
def home(version, tmp_path_factory):
    return tmp_path_factory.mktemp("claude-" + version)


@pytest.fixture(scope="module")
def work(version, tmp_path_factory):
    """The directory of all sessions of a version: the client's prompt depends on it, and the server
    computes the prompt of one directory once."""
    return tmp_path_factory.mktemp("work-" + version)


@pytest.fixture
def recorder(server):
    r = Recorder(server.port)
    yield r
    r.close()


@pytest.fixture
def claude(version, home, recorder):
    return Client(version, home, recorder.url)


@pytest.fixture
def says(version, record_property):
    """What a test saw, for the report."""
    def say(text):
        record_property("saw", text)
        print("Claude Code %s: %s" % (version, text), file=sys.stderr)
    return say


def result_of(events):
    results = [e for e in events if e["type"] == "result"]
    assert len(results) == 1, [e["type"] for e in events]
    return results[0]


def growing(exchanges):
    """Each prompt of a conversation begins with the whole of the one before: what was computed for
    that one is there for this one. -> (prompt tokens, of them read from the cache) per request."""
    seen = [(e.prompt_tokens, e.usage["cache_read_input_tokens"]) for e in exchanges]
    for (before, _), (_, read) in zip(seen, seen[1:]):
        assert read >= before, seen
    return seen


def test_a_question_gets_the_models_answer(claude, recorder, work, says):
    done = claude.run(work, "-p", "hello", *SMALL_TOOLS)
    assert done.returncode == 0, done.stderr
    asked, = recorder.messages
    assert asked.status == 200 and asked.body["stream"] is True
    assert asked.text and done.stdout.strip() == asked.text.strip()
    says("%r, %d prompt tokens, %d of them read" % (
        done.stdout.strip(), asked.prompt_tokens, asked.usage["cache_read_input_tokens"]))


def test_a_tool_loop_leaves_the_file_that_was_asked_for(claude, recorder, work, says):
    events = claude.events(work, "-p", "create a file called notes.txt with the text hello world", *SMALL_TOOLS,
                           "--allowedTools", "Write", "Bash")
    assert (work / "notes.txt").read_text() == "hello world\n"
    result = result_of(events)
    assert not result["is_error"] and result["permission_denials"] == []
    assert "notes.txt" in result["result"]
    assert len(recorder.messages) >= 2
    says("notes.txt holds %r after %d requests; prompts and what was read: %s" % (
        (work / "notes.txt").read_text(), len(recorder.messages), growing(recorder.messages)))


def test_without_a_permission_the_file_is_not_written(claude, work):
    events = claude.events(work, "-p", "create a file called secret.txt with the text hello world", *SMALL_TOOLS,
                           "--permission-mode", "default")
    assert not (work / "secret.txt").exists()
    assert [d["tool_name"] for d in result_of(events)["permission_denials"]]


def test_the_answer_comes_in_pieces(claude, recorder, work, says):
    events = claude.events(work, "-p", "count to 12", *SMALL_TOOLS, "--include-partial-messages")
    deltas = [e["event"]["delta"]["text"] for e in events if e["type"] == "stream_event"
              and e["event"]["type"] == "content_block_delta" and e["event"]["delta"]["type"] == "text_delta"]
    assert len(deltas) >= 5
    assert "".join(deltas) == result_of(events)["result"] == recorder.messages[-1].text
    assert [int(n) for n in re.findall(r"\d+", "".join(deltas))] == list(range(1, 13))
    says("%d pieces: %r" % (len(deltas), "".join(deltas)))


def test_continue_goes_on_where_the_last_session_ended(claude, recorder, work, says):
    (work / "marker.txt").write_text("x")
    assert claude.run(work, "-p", "hello", *SMALL_TOOLS).returncode == 0
    events = claude.events(work, "-p", "list the files here", *SMALL_TOOLS, "--continue", "--allowedTools", "Bash")
    result = result_of(events)
    assert not result["is_error"] and "marker.txt" in result["result"], result["result"]
    first, second = recorder.messages[0], recorder.messages[1]
    assert first.text in json.dumps(second.body["messages"])
    says("%r; prompts and what was read: %s" % (result["result"], growing(recorder.messages)))


SCHEMA = {"type": "object", "additionalProperties": False, "required": ["answer", "sure"],
          "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}}}


def fits(value):
    return set(value) == {"answer", "sure"} and isinstance(value["answer"], str) and isinstance(value["sure"], bool)


def test_ten_turns_compute_little_more_than_the_first_prompt(server, claude, recorder, version, tmp_path, says):
    """Ten turns with tool loops on a directory that the server has not seen, and then a second session
    there: it computes nothing up to the first message that differs. After a file was written the recorder
    lets the directory be listed, which the embedded model does not do by itself (the server has seen the
    request): three requests a turn."""
    if version != VERSIONS[0]:
        pytest.skip("one client is enough for the long session")
    listed = set()

    def list_once(exchange):
        results = [block for block in exchange.body["messages"][-1]["content"]
                   if isinstance(block, dict) and block["type"] == "tool_result"] if exchange.body else []
        if not results or results[0]["tool_use_id"] in listed:
            return None
        call = "toolu_list%04d" % len(listed)
        listed.update({results[0]["tool_use_id"], call})
        return a_tool_call("Bash", {"command": "ls", "description": "List the files"}, call)
    recorder.rewrite = list_once
    turns = ["create a file called f%d.txt with the text line %d" % (n, n) for n in range(10)]
    session = Session(claude, tmp_path, *SMALL_TOOLS, "--allowedTools", "Write", "Bash")
    for turn in turns:
        assert not session.say(turn)["is_error"]
    session.end()
    assert list(tmp_path.glob("f*.txt")), "no tool was used"
    seen = growing(recorder.messages)
    prompts, read = sum(prompt for prompt, _ in seen), sum(read for _, read in seen)
    first = seen[0][0]
    says("%d requests with %d prompt tokens: %.1f %% read, %d computed, of which the first took %d" % (
        len(seen), prompts, 100 * read / prompts, prompts - read, first - seen[0][1]))
    assert len(seen) >= 3 * len(turns) and read / prompts >= 0.95

    again = Session(claude, tmp_path, *SMALL_TOOLS)
    assert not again.say("hello again")["is_error"]
    again.end()
    second = recorder.messages[len(seen)]
    # Both begin with system, tools and the client's reminders; then come the user's words.
    before, now = recorder.messages[0].body, second.body
    shared = now["messages"][0]["content"][:-1]
    assert now["system"] == before["system"] and shared == before["messages"][0]["content"][:-1]
    same = server.post({"model": "x", "system": now["system"], "tools": now["tools"],
                        "messages": [{"role": "user", "content": shared}]}, path="/v1/messages/count_tokens")
    # Such a prompt ends with what opens the answer: a few tokens more.
    assert second.usage["cache_read_input_tokens"] >= same.json["input_tokens"] - 8
    says("second session: %d of %d tokens read, %d are the same" % (
        second.usage["cache_read_input_tokens"], second.prompt_tokens, same.json["input_tokens"]))


def test_an_answer_fits_the_schema_that_was_asked_for(claude, recorder, work, says):
    done = claude.run(work, "-p", "hello", "--tools", "", "--json-schema", json.dumps(SCHEMA), "--output-format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert not result["is_error"] and fits(result["structured_output"]), result
    says("%s after %d requests" % (result["structured_output"], len(recorder.messages)))


def test_an_answer_fits_the_schema_of_output_config(server, says):
    """As the API has it, and as the client asks for titles: a format, no tools."""
    answer = server.post({"model": "claude-haiku", "max_tokens": 200, "thinking": {"type": "disabled"},
                          "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
                          "system": [{"type": "text", "text": "Answer in JSON."}],
                          "messages": [{"role": "user", "content": "list the files in src"}]})
    assert answer.status == 200, answer.body
    assert fits(json.loads(answer.text)), answer.text
    says("the schema gave %s" % answer.text)


def test_an_interactive_session_answers_and_names_itself(version, claude, recorder, work, says):
    """On a terminal the older client asks for a title at the same time; the newer does so only with
    the traffic that it calls nonessential."""
    skip_onboarding(claude.home, work)
    terminal = Terminal([str(client(version)), *SMALL_TOOLS], work, claude.environment)
    terminal.until("❯")
    terminal.enter("fix the login bug in the server")

    def is_title(exchange):
        return "format" in exchange.body.get("output_config", {})

    def answered():
        asked = recorder.messages
        return any(not is_title(e) for e in asked) and all(b"event: message_stop" in e.answer for e in asked)
    eventually(answered, 120, "the answers", terminal.read)
    terminal.enter("/exit")
    assert terminal.status() == 0
    titles = [e for e in recorder.messages if is_title(e)]
    assert len(titles) == (1 if version == "2.1.197" else 0)
    for title in titles:
        assert list(json.loads(title.text)) == ["title"] and not title.body.get("tools")
    answers = [e for e in recorder.messages if e not in titles]
    assert len(answers) == 1 and answers[0].text
    says("%r, title %s" % (answers[0].text, [t.text for t in titles]))


def test_the_context_command_counts_all_at_once(claude, recorder, work, says):
    done = claude.run(work, "-p", "/context")
    assert done.returncode == 0 and "Tokens" in done.stdout, done.stdout + done.stderr
    counts = [e for e in recorder.exchanges if e.path.startswith("/v1/messages/count_tokens")]
    assert len(counts) >= 10 and {e.status for e in counts} == {200}
    assert all(json.loads(e.answer)["input_tokens"] > 0 for e in counts)
    says("%d counts; %s" % (len(counts), re.search(r"Tokens:\S* ([^\n]*)", done.stdout)[1].strip()))


def test_an_error_is_shown_word_for_word(claude, recorder, work, says):
    done = claude.run(work, "-p", "--bare", *SMALL_TOOLS, stdin="hello \0 world")
    assert done.returncode != 0
    refused = [e for e in recorder.messages if e.status == 400]
    assert refused
    assert refused[-1].error["type"] == "invalid_request_error"
    assert refused[-1].error["message"] in done.stdout + done.stderr
    says("after %d requests: %s" % (len(recorder.messages), done.stdout.strip()))


def test_a_wrong_token_is_said_at_once(version, home, recorder, tmp_path, says):
    done = Client(version, home, recorder.url).run(
        tmp_path, "-p", "hello", "--bare", *SMALL_TOOLS, ANTHROPIC_AUTH_TOKEN="wrong")
    assert done.returncode != 0
    assert {e.status for e in recorder.messages} == {401}
    assert len(recorder.messages) <= 2, "x-should-retry: false ends the ten retries"
    says("after %d requests: %s" % (len(recorder.messages), done.stdout.strip()))


def test_a_prompt_over_the_window_is_compacted_and_goes_on(version, home, tmp_path, says):
    """The client is told of a larger window than there is, so that the server has to say stop."""
    server = Server(tmp_path / "server", "--context", "6144")
    recorder = Recorder(server.port)
    claude = Client(version, home, recorder.url, window=200_000)
    where = tmp_path / "work"
    where.mkdir()
    # Programs, not files: the client attaches files it has read once more after compaction.
    for name, n_lines in (("first.sh", 100), ("second.sh", 190)):  # about 18 tokens a line
        lines = "".join("the quick brown fox jumps over a lazy dog %d\n" % i for i in range(n_lines))
        (where / name).write_text("#!/bin/sh\ncat <<'END'\n%sEND\n" % lines)
        (where / name).chmod(0o755)
    small = ["--bare", "--tools", "Bash,Read", "--system-prompt", "Be brief.", "--allowedTools", "Bash", "Read"]
    try:
        first = claude.run(where, "-p", "run the command ./first.sh", *small)
        assert first.returncode == 0, first.stdout
        events = claude.events(where, "-p", "run the command ./second.sh", "--continue", *small)
        last = claude.run(where, "-p", "hello", "--continue", *small)
    finally:
        recorder.close()
        server.stop()
    refused = [e for e in recorder.messages if e.status == 400]
    assert refused and re.fullmatch(r"prompt is too long: \d+ tokens > 6144 maximum", refused[0].error["message"])
    assert [e for e in events if e.get("subtype") == "compact_boundary"]
    assert not result_of(events)["is_error"], result_of(events)
    assert last.returncode == 0 and last.stdout.strip()
    assert recorder.messages[-1].prompt_tokens < 6144
    says("%s; compacted; then %d tokens and %r" % (
        refused[0].error["message"], recorder.messages[-1].prompt_tokens, last.stdout.strip()))


def test_two_sessions_and_an_agent_at_once_keep_apart(version, claude, recorder, work, says):
    """The embedded model never delegates by itself. So the recorder answers the first request of the
    third session with a call of the Agent tool (the server has seen the request); what the agent and
    its session then ask is answered by the server."""
    def delegate(exchange):
        asks = exchange.body.get("messages", [])
        tools = {t["name"] for t in exchange.body.get("tools", [])}
        if "delegate" not in json.dumps(asks) or len(asks) > 2 or "Agent" not in tools:
            return None
        return a_tool_call("Agent", {"description": "Write a file", "subagent_type": "general-purpose",
                                     "run_in_background": False,
                                     "prompt": "create a file called agent.txt with the text gamma"})
    recorder.rewrite = delegate

    def session(prompt, tools):
        return lambda: result_of(claude.events(work, "-p", prompt, "--tools", tools,
                                               "--allowedTools", "Write", "Bash", "Agent"))
    small = "Bash,Read,Write,Edit"
    results = at_once([
        session("create a file called a.txt with the text alpha", small),
        session("create a file called b.txt with the text beta", small),
        session("delegate", small + ",Agent"),
    ])
    assert not any(r["is_error"] for r in results), results
    assert (work / "a.txt").read_text() == "alpha\n"
    assert (work / "b.txt").read_text() == "beta\n"
    assert (work / "agent.txt").read_text() == "gamma\n"
    assert "a.txt" in results[0]["result"] and "b.txt" in results[1]["result"]
    talks = recorder.conversations()
    assert len({session_id for session_id, _ in talks}) == 3
    agents = [key for key in talks if key[1]]
    assert len(agents) == 1 and len(talks) == 4, list(talks)
    says("; ".join("%s %s" % ("agent" if key[1] else "session", growing(talk)) for key, talk in talks.items()))
