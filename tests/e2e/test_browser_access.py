"""What a page on another origin can do with a real browser: nothing. Source: RELIABILITY, cases 63-65."""
import functools
import http.server
import json
import shutil
import threading

import pytest
from playwright.sync_api import sync_playwright

from pensieve import TOKEN, user

CHROMIUM = next((path for path in map(shutil.which, (
    "chromium-headless-shell", "/usr/lib/chromium/chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))
    if path), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

# Every way that a page has to send something elsewhere. What it could read or see goes to <output>.
PAGE = """<!doctype html><meta charset="utf-8"><output></output><script>
const base = "%(url)s", token = "%(token)s", body = JSON.stringify(%(body)s), seen = {};
const json = {"content-type": "application/json", "x-api-key": token};
async function attempt(name, make) {
  const late = new Promise(r => setTimeout(() => r("nothing"), 3000));
  try { seen[name] = String(await Promise.race([make(), late])); } catch (e) { seen[name] = "refused"; }
}
const loaded = (tag, path) => new Promise((yes, no) => {
  const e = document.createElement(tag); e.onload = () => yes("loaded"); e.onerror = () => no(); e.src = base + path;
  document.body.append(e);
});
(async () => {
  await attempt("read health", async () => (await fetch(base + "/health")).text());
  await attempt("read models", async () => (await fetch(base + "/v1/models", {headers: json})).text());
  await attempt("post json", async () => (await fetch(base + "/v1/messages", {method: "POST", headers: json, body})).text());
  await attempt("post text", async () =>
    (await fetch(base + "/v1/messages", {method: "POST", mode: "no-cors", body})).text());
  await attempt("post urlencoded", async () => (await fetch(base + "/v1/messages",
    {method: "POST", mode: "no-cors", body: new URLSearchParams({body})})).text());
  const parts = new FormData(); parts.append("body", body);
  await attempt("post form", async () => (await fetch(base + "/v1/messages", {method: "POST", mode: "no-cors", body: parts})).text());
  await attempt("with credentials", async () => (await fetch(base + "/v1/models", {credentials: "include"})).text());
  await attempt("beacon", () => { navigator.sendBeacon(base + "/v1/messages", new Blob([body], {type: "text/plain"})); return "nothing"; });
  await attempt("beacon json", () => {
    navigator.sendBeacon(base + "/v1/messages", new Blob([body], {type: "application/json"})); return "nothing"; });
  await attempt("script", () => loaded("script", "/v1/models"));
  await attempt("image", () => loaded("img", "/health"));
  await attempt("event source", () => new Promise((yes, no) => {
    const s = new EventSource(base + "/v1/messages"); s.onmessage = e => yes(e.data); s.onerror = () => { s.close(); no(); }; }));
  await attempt("web socket", () => new Promise((yes, no) => {
    const s = new WebSocket(base.replace("http", "ws") + "/health"); s.onopen = () => yes("open"); s.onerror = () => no(); }));
  await attempt("frame", () => new Promise(yes => {
    const f = document.createElement("iframe"); f.src = base + "/health"; document.body.append(f);
    f.onload = () => { try { yes(f.contentDocument.body.textContent); } catch (e) { yes("nothing"); } }; }));
  document.querySelector("output").textContent = JSON.stringify(seen);
})();
</script>"""


@pytest.fixture
def site(tmp_path):
    """site(html) puts a page on a port of its own -> its origin."""
    place = tmp_path / "site"
    place.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield place, "http://127.0.0.1:%d" % web.server_port
    web.shutdown()


def visit(url, until, *options):
    """The text of `until` once it has some: what the page's scripts have seen, or what the server showed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--no-proxy-server", *options])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("what => document.querySelector(what)?.textContent", arg=until, timeout=60_000)
        text = page.text_content(until)
        browser.close()
    return text


def test_a_page_of_another_origin_can_neither_use_nor_read_the_server(start, site):
    place, origin = site
    server = start()
    # The worst case: the page knows the token. Where it may be sent, a preflight asks first.
    (place / "index.html").write_text(PAGE % {"url": server.url, "token": TOKEN, "body": json.dumps(user("hi", 4))})
    seen = json.loads(visit(origin + "/", "output"))
    assert len(seen) == 14, seen
    assert {name for name, text in seen.items() if text not in ("refused", "nothing", "")} == set(), seen
    assert server.get("/health").json["engine"]["requests"] == 0
    server.stop()

    # The same page, let in: so the silence above was the server's doing.
    server = start("--allow-origin", origin)
    (place / "index.html").write_text(PAGE % {"url": server.url, "token": TOKEN, "body": json.dumps(user("hi", 4))})
    seen = json.loads(visit(origin + "/", "output"))
    assert json.loads(seen["read health"])["status"] == "ok" and "content" in json.loads(seen["post json"]), seen
    assert server.get("/health").json["engine"]["requests"] == 1   # the one with the token, as JSON
    server.stop()


def test_a_name_that_was_pointed_here_opens_nothing(start):
    """DNS rebinding: the attacker's own name resolves to this machine, so the browser sees one origin."""
    server = start()
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    shown = visit("http://evil.example:%d/health" % server.port, "body", rules)
    assert "permission_error" in shown and '"status"' not in shown, shown
    shown = visit("http://127.0.0.1:%d/health" % server.port, "body", rules)
    assert '"status":"ok"' in shown, shown
    server.stop()
