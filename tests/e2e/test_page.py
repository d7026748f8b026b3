"""The page at GET / in a real headless Chromium: the token, the chat, what is shown of the server, and what
happens when the server is busy, ends or comes back. PENSIEVE_SCREENSHOTS=DIR keeps pictures of it."""
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from pensieve import BINARY, TOKEN, Server, endless, environment, eventually, user
from terminal import Terminal

BROWSERS = ["chromium-headless-shell", "chromium", "google-chrome"]  # as Debian and others call it
LIMIT_MS = 30_000  # a busy machine; normal is under a second
expect.set_options(timeout=LIMIT_MS)
SHOTS = os.environ.get("PENSIEVE_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None and sys.platform == "darwin":
        pytest.skip("there is no Chromium in the PATH")
    assert program, "`tools/setup test` installs chromium-headless-shell"
    with sync_playwright() as playwright:
        # Containers seldom allow the sandbox's namespaces; the only page that is opened is ours.
        b = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield b
        b.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("home"), "--context", "4096", "--log-level", "debug")
    yield s
    s.stop()


class Tab:
    """A tab with a session of its own. It notes every request and every complaint of the browser."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(LIMIT_MS)
        self.urls, self.complaints = [], []
        self.page.on("request", lambda r: self.urls.append(r.url))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))

    def open(self, server, token=TOKEN):
        self.page.goto(server.url + "/" + ("#token=" + token if token else ""))
        if token == TOKEN:
            expect(self.page.locator("#state")).to_have_text("Live")
        return self.page

    def say(self, text):
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")

    def answered(self):
        expect(self.page.locator(".turn.assistant").last.locator(".meta")).to_be_visible()

    def shot(self, name, **options):
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path="%s/%s.png" % (SHOTS, name), **options)


def sse(*events):
    return "".join("event: %s\ndata: %s\n\n" % (n, json.dumps({"type": n, **d})) for n, d in events)


@pytest.fixture
def tab(browser):
    made = []

    def make(**options):
        made.append(Tab(browser, **options))
        return made[-1]
    yield make
    for t in made:
        t.context.close()
        # A refused request is the server's word, not the page's fault.
        strange = [c for c in t.complaints if "Failed to load resource" not in c]
        assert not strange, strange
        assert not [u for u in t.urls if not re.match(r"(http://127\.0\.0\.1:\d+/|data:)", u)], "something from elsewhere"


def test_the_token_is_asked_for_and_kept_for_the_tab(tab, served):
    t = tab()
    page = t.open(served, token=None)
    expect(page.locator("#gate")).to_be_visible()
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#main")).to_be_hidden()
    t.shot("gate")
    for wrong in ("wrong", "no header: \u00e9\u2026", TOKEN + "x"):
        page.fill("#token", wrong)
        page.keyboard.press("Enter")
        expect(page.locator("#gate-note")).to_contain_text("does not know this token")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Live")
    page.reload()
    expect(page.locator("#state")).to_have_text("Live")
    other = tab()
    other.open(served, token=None)
    expect(other.page.locator("#gate")).to_be_visible()


def test_a_link_brings_the_token_and_it_goes_nowhere_else(tab, served):
    t = tab()
    page = t.open(served)
    assert page.url == served.url + "/" and page.evaluate("history.length") == 2  # about:blank and the page
    t.say("hello")
    t.answered()
    assert t.urls and not [u for u in t.urls if TOKEN in u]
    assert TOKEN not in served.log
    assert not page.evaluate("Object.keys(localStorage).length") and not page.evaluate("document.cookie")


def test_the_start_prints_the_link_on_a_terminal_only(tab, tmp_path, served):
    assert re.search(r"page +http://127\.0\.0\.1:\d+/\n", served.log), "a file gets no token"
    token = "a#b%41&c+d/e?f=\"'"  # what would mean something else in an address
    home = tmp_path / "home"
    home.mkdir()
    terminal = Terminal([BINARY, "skip", "--model", "tiny", "--port", "0"], str(home), environment(home, token))
    terminal.until("  page      ", 10)
    while "\n" not in terminal.seen:
        terminal.read()
    t = tab()
    t.page.goto(terminal.seen.split()[0])
    expect(t.page.locator("#state")).to_have_text("Live")
    assert t.page.evaluate("sessionStorage.getItem('pensieve-token')") == token
    t.page.goto("about:blank")
    terminal.type("\x03")
    assert terminal.status() == 0


def test_an_answer_streams_in(tab, served):
    question = "count to twenty"
    expected = served.post(user(question, max_tokens=2048)).text
    t = tab()
    page = t.open(served)
    page.evaluate("""() => { window.lengths = []; new MutationObserver(() => {
        const last = document.querySelector('.turn.assistant:last-child .text');
        if (last) lengths.push(last.textContent.length); }).observe(document.getElementById('log'), {childList: true, subtree: true}); }""")
    t.say(question)
    t.answered()
    assert page.locator(".turn.assistant .text").text_content() == expected
    seen = page.evaluate("lengths")
    assert seen == sorted(seen) and len({n for n in seen if 0 < n < len(expected)}) >= 2, seen
    expect(page.locator(".turn .meta")).to_contain_text(re.compile(r"70 tokens · [\d.]+ tokens/s · first after"))
    # The next turn knows the first: its prompt begins with that, which is remembered.
    t.say("show all files including hidden ones")
    t.answered()
    expect(page.locator(".turn .meta").last).to_contain_text("prompt tokens remembered")
    assert page.locator(".turn.assistant pre").text_content() == "ls -a"
    expect(page.locator("#load-note")).to_contain_text("in 5 minutes")
    page.click("#anew")
    expect(page.locator(".turn")).to_have_count(0)


def test_what_runs_is_shown_and_can_be_stopped(tab, served):
    t = tab(color_scheme="dark")
    page = t.open(served)

    def lengthen(route):  # as endless() does
        route.continue_(post_data=json.dumps({**json.loads(route.request.post_data), **{
            k: v for k, v in endless(3).items() if k in ("max_tokens", "repetition_penalty")}}))
    page.route("**/v1/messages", lengthen)
    t.say("count to 23")
    expect(page.locator("#requests li")).to_contain_text(re.compile(r"Answering, \d+ tokens"))
    expect(page.locator("#send")).to_have_text("Stop")
    expect(page.locator("#speed")).not_to_have_text("0.0")
    t.shot("dark-answering")
    page.focus("#question")
    page.keyboard.press("Escape")
    expect(page.locator(".turn .meta")).to_contain_text("stopped")
    expect(page.locator("#send")).to_have_text("Send")
    expect(page.locator("#requests-none")).to_be_visible()
    assert eventually(lambda: not served.get("/v1/pensieve/status").json["requests"], 2, "a free engine") < 2
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#question") == "one\ntwo"


def test_what_a_model_says_is_text(tab, served):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script> ```\n<b>bold</b>\n```\n&amp; <!--"
    stream = [("message_start", {"message": {"usage": {"input_tokens": 1}}}),
              ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "<i>hm</i>"}}),
              ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": hostile}}),
              ("error", {"error": {"type": "overloaded_error", "message": "<u>too busy</u>"}})]
    t = tab()
    page = t.open(served)
    page.on("dialog", lambda d: pytest.fail("a script ran"))
    page.route("**/v1/messages", lambda route: route.fulfill(
        status=200, content_type="text/event-stream",
        body=sse(*stream)))
    t.say("<b>mine</b>")
    expect(page.locator(".problem")).to_contain_text("<u>too busy</u>")
    assert page.locator("#log img, #log script, #log b, #log i, #log u").count() == 0
    assert "<img src=x onerror=alert(1)>" in page.locator(".turn.assistant .text").text_content()
    assert page.locator(".turn.assistant .thinking").text_content() == "<i>hm</i>"


def test_a_refusal_is_told_and_can_be_tried_again(tab, served):
    t = tab()
    page = t.open(served)
    sentence = "Memory is short: 700 MiB of 16384 MiB are available"
    page.route("**/v1/messages", lambda route: route.fulfill(
        status=503, headers={"retry-after": "5"}, content_type="application/json",
        body=json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "m" + sentence[1:]}})), times=1)
    t.say("hello")
    expect(page.locator(".problem")).to_contain_text(sentence + ". It says to try again in 5 s.")
    t.shot("refused")
    page.click(".problem button")
    t.answered()
    assert page.locator(".turn.assistant .text").text_content() == "Hello! What can I do for you?"
    expect(page.locator(".problem")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(tab, served, scheme):
    t = tab(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    page = t.open(served)
    t.say("show all files including hidden ones")
    t.answered()
    page.route("**/v1/messages", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=sse(
        ("message_start", {"message": {"usage": {}}}),
        ("content_block_delta", {"delta": {"type": "text_delta", "text": "w" * 90 + "\n```\n" + "c" * 90 + "\n```"}}),
        ("error", {"error": {"message": "e" * 90}}))))
    t.say("q" * 90)
    expect(page.locator(".problem")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    t.shot(scheme + "-phone", full_page=True)
    # WCAG 2.2, 1.4.3: text has a contrast of 4.5 to what it stands on.
    poor = page.evaluate(CONTRAST)
    assert not poor, poor
    page.set_viewport_size({"width": 1280, "height": 860})
    t.shot(scheme)


# Relative luminance and contrast as WCAG 2.2 defines them, of every element with text of its own.
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.quiet, .skip, script') &&
      [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    const a = light(rgb(getComputedStyle(e).color).slice(0, 3)), b = light(ground(e));
    return [e.textContent.trim().slice(0, 30), Math.round(100 * (Math.max(a, b) + .05) / (Math.min(a, b) + .05)) / 100];
  }).filter(([, contrast]) => contrast < 4.5);
}"""


def test_everything_is_reached_by_keyboard(tab, served):
    t = tab(reduced_motion="reduce")
    page = t.open(served)
    t.say("show all files including hidden ones")
    t.answered()

    def walk(key, n):
        for _ in range(n):
            page.keyboard.press(key)
            name, outline = page.evaluate(
                "(e => [e.id || e.className || e.tagName, getComputedStyle(e).outlineStyle])(document.activeElement)")
            assert outline != "none", name
            yield name
    page.focus("#question")
    assert list(walk("Shift+Tab", 4)) == ["PRE", "log", "anew", "skip"]
    page.keyboard.press("Enter")
    assert list(walk("Tab", 1)) == ["send"], "the link leads to the message"
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.skipif(b"PENSIEVE_MEMORY_ROOT" not in Path(BINARY).read_bytes(),
                    reason="this server cannot be told of another machine's memory")
def test_a_change_of_the_memory_level_shows_within_two_seconds(tab, start, tmp_path, tell):
    meminfo = tmp_path / "machine" / "proc" / "meminfo"
    meminfo.parent.mkdir(parents=True)

    def leave(gib):
        meminfo.write_text("MemTotal: %d kB\nMemFree: 1 kB\nMemAvailable: %d kB\n" % (16 << 20, int(gib * (1 << 20))))
    leave(8)
    server = start("--context", "2048", env={"PENSIEVE_MEMORY_ROOT": str(tmp_path / "machine")})
    t = tab()
    page = t.open(server)
    expect(page.locator("#level")).to_have_text("Memory safe")
    for gib, level in ((2.5, "caution"), (1.5, "warning"), (0.75, "critical")):
        leave(gib)
        begin = time.monotonic()
        expect(page.locator("#level")).to_have_text("Memory " + level, timeout=2000)
        tell("%s was shown after %.2f s", level, time.monotonic() - begin)
        expect(page.locator("#ruler .here")).to_contain_text(level.capitalize())
    expect(page.locator("#alerts li").first).to_have_attribute("data-level", "critical")
    t.say("hello")
    expect(page.locator(".problem")).to_contain_text("Memory is short")
    t.shot("critical")


def test_the_servers_end_and_return_are_shown(tab, start):
    server = start()
    t = tab()
    page = t.open(server)
    leaving = server.stream(endless(4))
    leaving.until("message_start")
    server.signal()
    expect(page.locator("#state")).to_have_text("Shutting down")
    leaving.close()
    server.wait()
    expect(page.locator("#state")).to_have_text("No answer, trying again")
    t.say("hello")
    expect(page.locator(".problem")).to_contain_text("The server cannot be reached.")
    t.shot("gone")
    start(port=server.port)
    expect(page.locator("#state")).to_have_text("Live")
    page.click(".problem button")
    t.answered()
