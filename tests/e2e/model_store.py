"""What the tests of models and their downloads share: a repository of made-up weights, the store on the
disk, and processes that fetch into it."""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
from pathlib import Path

from hub_origin import COMMIT, Hub
from pensieve import BINARY, TINY, TOKEN, environment, eventually, request

MIB = 1 << 20
WEIGHTS = "model.safetensors"
CONFIG = b'{"model_type": "phi3"}\n'
DEFAULT = "phi-3-mini-128k-instruct-4bit"
DEFAULT_REPOSITORY = "mlx-community/Phi-3-mini-128k-instruct-4bit"


def points(few):
    """How many points a test tries where more would only be more of the same: few, unless a run by hand
    asks for PENSIEVE_STORE_POINTS."""
    return int(os.environ.get("PENSIEVE_STORE_POINTS", few))


def payload(n_bytes, seed=1):
    return random.Random(seed).randbytes(n_bytes)


def repository(weights):
    return {"config.json": CONFIG, "tokenizer.json": b"{}\n", "README.md": b"not needed\n",
            WEIGHTS: weights, "original/" + WEIGHTS: b"not needed either"}


def tiny_files():
    """The embedded model as a repository: a real model, small."""
    return {p.name: p.read_bytes() for p in (TINY / "mlx").iterdir() if p.is_file()}


def at_hub(home, hub, **more):
    return {**environment(home), "PENSIEVE_HUB_URL": hub.url if isinstance(hub, Hub) else hub, **more}


def pull(home, hub, *args, model="hub:owner/model", timeout=120, env=None, wrap=(), **options):
    """`pensieve model pull` to its end; `wrap` stands before it, as strace does."""
    return subprocess.run([*wrap, BINARY, "model", "pull", model, *map(str, args)],
                          env={**at_hub(home, hub), **(env or {})}, capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **options)


def start_pull(home, hub, *args, model="hub:owner/model", output=subprocess.PIPE):
    return subprocess.Popen([BINARY, "model", "pull", model, *map(str, args)], env=at_hub(home, hub),
                            stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True)


def stored(home, name="model"):
    return Path(home) / "models" / name


def partial(home, file=WEIGHTS, name="model"):
    return Path(home) / "models" / (".%s.partial" % name) / file


def synced(home, file=WEIGHTS, name="model"):
    """So many bytes of the file are safe, by its sidecar."""
    sidecar = partial(home, file + ".part.json", name)
    return json.loads(sidecar.read_text())["synced"] if sidecar.exists() else 0


def asked(origin, file=WEIGHTS):
    """Where each request for the file began: None is a request for all of it."""
    return [r.offset for r in origin.files_requested(file) if not r.path.startswith("/api/")]


def check_whole(home, weights, name="model"):
    place = stored(home, name)
    assert (place / WEIGHTS).read_bytes() == weights
    manifest = json.loads((place / "manifest.json").read_text())
    files = {f["name"]: f for f in manifest["files"]}
    assert sorted(files) == ["config.json", WEIGHTS, "tokenizer.json"]
    for file, entry in files.items():
        data = (place / file).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest() and entry["bytes"] == len(data)
    assert sorted(os.listdir(place)) == ["config.json", "manifest.json", WEIGHTS, "tokenizer.json"]
    assert not partial(home, "").exists()
    assert manifest["revision"] == COMMIT


class Serving:
    """A `pensieve` in any mode until it answers."""

    def __init__(self, home, hub, *args):
        self.output = Path(home) / "output.log"
        self.output.parent.mkdir(exist_ok=True)
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen([BINARY, *args, "--port", "0"], env=at_hub(home, hub),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    @property
    def log(self):
        return self.output.read_text(errors="replace")

    @property
    def port(self):
        return int(re.search(r"address +http://127\.0\.0\.1:(\d+)", self.log).group(1))

    def ready(self):
        eventually(lambda: "is ready" in self.log or self.process.poll() is not None, 60, "it serves")
        assert self.process.poll() is None, self.log
        health = request(self.port, "GET", "/health", token=TOKEN)
        assert health.status == 200
        return health.json

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log
