"""Computed prompts outlive the server: kept on the disk, read back at the next start, never used when
they are not what they were, and gone when the user says so."""
import json
import os
import random
import re
import stat
import time


from pensieve import run

PAGE = 64
SYSTEM = "You are a shell assistant. " + " ".join("Rule %d: be brief." % n for n in range(250))


def ask(text="list the files here", system=SYSTEM, **more):
    return {"model": "x", "max_tokens": 24, "temperature": 0, "system": system,
            "messages": [{"role": "user", "content": text}], **more}


def usage(answer):
    assert answer.status == 200, answer.body
    u = answer.json["usage"]
    return u["input_tokens"] + u["cache_read_input_tokens"], u["cache_read_input_tokens"]


def pages(home):
    return sorted(p for p in (home / "kv").rglob("*.page"))


def whole_pages(n):
    return n // PAGE * PAGE


def test_a_prompt_is_not_computed_again_after_a_restart(start, tmp_path):
    home = tmp_path / "home"
    first = start(home=home)
    cold = first.post(ask())
    prompt, cached = usage(cold)
    assert prompt > 1000 and cached == 0
    first.stop()
    assert len(pages(home)) >= prompt // PAGE

    second = start(home=home)
    warm = second.post(ask())
    assert usage(warm) == (prompt, whole_pages(prompt - 1))
    assert warm.json["content"] == cold.json["content"], "restored KV says what computed KV said"
    other = second.post(ask("count the lines of a.txt"))
    assert usage(other)[1] > whole_pages(prompt) - 2 * PAGE, "another question over the same system prompt"
    second.stop()

    third = start("--kv-disk", "off", home=home)
    again = third.post(ask())
    assert usage(again)[1] == 0
    assert again.json["content"] == cold.json["content"]
    third.stop()


def test_streams_say_what_was_restored(start, tmp_path):
    home = tmp_path / "home"
    first = start(home=home)
    prompt, _ = usage(first.post(ask()))
    first.stop()
    second = start(home=home)
    usages = [data["usage"] for name, data in second.stream(ask()) if name == "message_delta"]
    assert usages[-1]["cache_read_input_tokens"] == whole_pages(prompt - 1)
    assert second.get("/health").json["engine"]["restored_tokens"] == whole_pages(prompt - 1)
    second.stop()


def test_keys_and_values_in_four_bits_answer_and_outlive_the_server(start, tmp_path):
    home = tmp_path / "home"
    for kv, bytes_per_token in (("q4", 3_840), ("q8/q4", 5_184)):   # 2 x 6 layers x 512 wide, scales, minima
        first = start("--kv", kv, home=home)
        assert "KV %s," % kv in first.log
        cold = first.post(ask())
        prompt, cached = usage(cold)
        assert cached == 0, "pages of other types are not taken"
        assert '"command": "ls"' in cold.text, "what it answers with exact keys and values"
        first.stop()
        kept = max(pages(home), key=lambda p: p.stat().st_mtime)
        assert 0 < kept.stat().st_size - PAGE * bytes_per_token < 4 * prompt + 1024, "ids and headers beside them"

        second = start("--kv", kv, home=home)
        warm = second.post(ask())
        assert usage(warm) == (prompt, whole_pages(prompt - 1))
        assert warm.json["content"] == cold.json["content"], "restored KV says what computed KV said"
        second.stop()


def test_killed_at_any_moment_it_starts_and_answers_the_same(start, tmp_path):
    """kill -9 while pages are written; what is left is whole pages or nothing."""
    home = tmp_path / "home"
    rng = random.Random(3)
    expected = None
    for n in range(4):
        server = start(home=home)
        if n == 0:
            expected = server.post(ask()).json["content"]
        stream = server.stream(ask("who am i", system="%d %s" % (n, SYSTEM)))
        time.sleep(rng.uniform(0.05, 0.9))
        server.kill()
        stream.close()
    server = start(home=home)
    assert server.post(ask()).json["content"] == expected
    assert not list((home / "kv").rglob("*.new")), "what was half written is swept at start"
    assert "not used" not in server.log, "no torn page"
    server.stop()


def test_a_page_that_was_changed_is_not_used(start, tmp_path):
    home = tmp_path / "home"
    first = start(home=home)
    cold = first.post(ask())
    prompt, _ = usage(cold)
    first.stop()
    by_length = {int(p.name.split("-")[1].split(".")[0]): p for p in pages(home)}
    victim = by_length[5 * PAGE]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0x10
    victim.write_bytes(data)
    second = start(home=home)
    again = second.post(ask())
    assert usage(again) == (prompt, 4 * PAGE), "up to the page before it"
    assert again.json["content"] == cold.json["content"]
    assert second.log.count("is not used and removed") == 1
    second.stop()
    # It was computed anew, and kept.
    third = start(home=home)
    assert usage(third.post(ask())) == (prompt, whole_pages(prompt - 1))
    third.stop()


def test_the_budget_holds_and_nobody_else_can_read(start, tmp_path):
    home = tmp_path / "home"
    os.umask(0)
    budget = 4 << 20
    server = start("--kv-disk", "4MiB", home=home)
    for n in range(5):
        server.post(ask(system="%d %s" % (n, SYSTEM)))
        size = sum(p.stat().st_size for p in (home / "kv").rglob("*") if p.is_file())
        assert size <= budget
    server.stop()
    os.umask(0o022)
    assert json.loads(run(home, "memory", "stats", "--json").stdout)["bytes_written"] > 2 * budget, "nothing had to go"
    assert pages(home)
    for path in (home / "kv").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_servers_share_what_they_know(start, tmp_path):
    home = tmp_path / "home"
    one, two = start(home=home), start(home=home)
    cold = one.post(ask())
    prompt, _ = usage(cold)
    end = time.monotonic() + 30
    while len(pages(home)) < prompt // PAGE and time.monotonic() < end:
        time.sleep(0.05)
    warm = two.post(ask())
    assert usage(warm) == (prompt, whole_pages(prompt - 1))
    assert warm.json["content"] == cold.json["content"]
    one.stop()
    two.stop()


def test_what_is_remembered_can_be_looked_at_and_cleared(start, tmp_path):
    home = tmp_path / "home"
    empty = run(home, "memory", "list")
    assert empty.returncode == 0 and "Nothing is remembered" in empty.stdout
    assert json.loads(run(home, "memory", "list", "--json").stdout) == []
    server = start(home=home)
    prompt, _ = usage(server.post(ask()))
    server.stop()
    listed = json.loads(run(home, "memory", "list", "--json").stdout)
    assert [entry["tokens"] for entry in listed] == [max(entry["tokens"] for entry in listed)]
    assert listed[0]["tokens"] >= whole_pages(prompt) and "Tiny" in listed[0]["model"]
    stats = json.loads(run(home, "memory", "stats", "--json").stdout)
    assert stats["pages"] == len(pages(home)) and stats["bytes"] == sum(p.stat().st_size for p in pages(home))
    assert re.search(r"Kept +[\d.]+ MiB", run(home, "memory", "stats").stdout)
    cleared = run(home, "memory", "clear")
    assert cleared.returncode == 0 and "free again" in cleared.stdout
    assert pages(home) == []
    for args in (["memory"], ["memory", "forget"], ["--kv-disk", "lots"], ["--kv-disk-daily", "-1"]):
        bad = run(home, *args)
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1, (args, bad.stderr)


def test_a_directory_that_cannot_be_written_costs_one_line(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "kv").write_text("in the way")
    server = start(home=home)
    assert server.post(ask()).status == 200
    assert server.log.count("prompts are not kept on the disk") == 1
    server.stop()
