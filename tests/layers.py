#!/usr/bin/env python3
"""The layers, read from the includes: application -> domain -> foundation, and the arrows between
rooms listed below. Also: no cycle between rooms, includes are full paths from src/, and every header
opens with a comment that says what it is for.

    tests/layers.py              checks this repository's src/
    tests/layers.py --self-test  proves that each kind of violation is found, in made-up trees
"""
import re
import sys
import tempfile
from pathlib import Path

# room -> rooms it may include. foundation is open to all; a room may always include itself.
ARROWS = {
    "domain/api": set(),
    "domain/tokenizer": set(),
    "domain/compute": set(),
    "domain/model": {"domain/compute"},
    "domain/store": set(),
    "domain/chat": {"domain/api"},
    "domain/grammar": set(),
    "domain/engine": {"domain/compute", "domain/model"},
    "domain/kv_store": {"domain/compute", "domain/engine"},
    "domain/claude": {"domain/chat", "domain/engine", "domain/grammar", "domain/tokenizer",
                      "domain/api", "domain/model", "domain/compute"},
    "application/http": set(),
    "application/server": {"application/http", "application/proxy", "domain/*"},
    "application/proxy": {"application/http", "domain/*"},
    "application/cli": {"application/*", "domain/*"},
}
SOURCES = {".h", ".cpp", ".cu", ".mm"}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
# What a room keeps for itself: no other room includes from its internal/ folder.
INTERNAL = "/internal/"


def room_of(path):
    parts = path.split("/")
    return "foundation" if parts[0] == "foundation" else "/".join(parts[:2])


def allowed(source, target):
    if target == source or target == "foundation":
        return True
    arrows = ARROWS.get(source, set())
    return target in arrows or target.split("/")[0] + "/*" in arrows


def find_cycle(edges):
    """One cycle among rooms as a list, or None."""
    state = {}

    def visit(room, trail):
        state[room] = "open"
        for target in sorted(edges.get(room, ())):
            if state.get(target) == "open":
                return trail[trail.index(target):] + [target]
            if target not in state and (cycle := visit(target, trail + [target])):
                return cycle
        state[room] = "done"
        return None

    for room in sorted(edges):
        if room not in state and (cycle := visit(room, [room])):
            return cycle
    return None


def problems(src):
    found, edges = [], {}
    for path in sorted(p for p in src.rglob("*") if p.suffix in SOURCES):
        name = path.relative_to(src).as_posix()
        room = room_of(name)
        lines = path.read_text(encoding="utf-8").splitlines()
        if room != "foundation" and room not in ARROWS:
            found.append(f"{name}: the room {room} has no line in tests/layers.py")
        if path.suffix == ".h":
            if not lines or not lines[0].startswith("//"):
                found.append(f"{name}:1: a header opens with a // comment that says what it is for")
            if "#pragma once" not in lines:
                found.append(f"{name}:1: no #pragma once")
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            where, target = f"{name}:{number}", match[1]
            if not (src / target).is_file():
                found.append(f'{where}: "{target}" is not a path from src/ to a file')
                continue
            target_room = room_of(target)
            if not allowed(room, target_room):
                found.append(f"{where}: {room} must not know {target_room}")
            if INTERNAL in target and target_room != room:
                found.append(f'{where}: "{target}" is internal to {target_room}')
            if target_room != room:
                edges.setdefault(room, set()).add(target_room)
    if cycle := find_cycle(edges):
        found.append("rooms include each other in a circle: " + " -> ".join(cycle))
    return found


def self_test():
    """Each case is a small tree and a word that its one complaint must hold; '' means no complaint."""
    header = "// What this is for.\n#pragma once\n"
    house = {"foundation/result.h": header, "domain/api/messages.h": header,
             "domain/chat/chat.h": header, "domain/compute/backend.h": header,
             "domain/compute/internal/half.h": header, "application/http/http.h": header}
    cases = [
        ("a clean house", {"domain/chat/x.cpp": '#include "domain/api/messages.h"\n'}, ""),
        ("up a layer", {"foundation/x.cpp": '#include "domain/api/messages.h"\n'},
         "foundation must not know domain/api"),
        ("domain to application", {"domain/chat/x.cpp": '#include "application/http/http.h"\n'},
         "domain/chat must not know application/http"),
        ("a wrong arrow inside domain", {"domain/api/x.cpp": '#include "domain/chat/chat.h"\n'},
         "domain/api must not know domain/chat"),
        ("http knows no domain", {"application/http/x.h": header + '#include "domain/api/messages.h"\n'},
         "application/http must not know domain/api"),
        ("a test may not go round", {"domain/compute/x_test.cpp": '#include "domain/api/messages.h"\n'},
         "domain/compute must not know domain/api"),
        ("spaces in the directive", {"foundation/x.cpp": '  #  include "domain/api/messages.h"\n'},
         "foundation must not know domain/api"),
        ("a relative include", {"domain/chat/x.cpp": '#include "chat.h"\n'}, "is not a path from src/"),
        ("another room's internals",
         {"domain/engine/x.cpp": '#include "domain/compute/internal/half.h"\n'}, "is internal to"),
        ("a bare header", {"domain/api/bare.h": "#pragma once\n"}, "opens with a // comment"),
        ("no include guard", {"domain/api/open.h": "// Something.\n"}, "no #pragma once"),
        ("an unknown room", {"domain/gossip/x.cpp": ""}, "has no line"),
    ]
    failures = 0
    for name, files, expected in cases:
        with tempfile.TemporaryDirectory() as directory:
            src = Path(directory)
            for path, text in {**house, **files}.items():
                (src / path).parent.mkdir(parents=True, exist_ok=True)
                (src / path).write_text(text, encoding="utf-8")
            got = problems(src)
        good = got == [] if not expected else len(got) == 1 and expected in got[0]
        failures += not good
        print(f"{'ok    ' if good else 'FAILED'}  {name}: {got or 'no complaint'}")

    circle = find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    none = find_cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}})
    good = circle is not None and set(circle) == {"a", "b", "c"} and none is None
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'}  cycles: {circle}, and none in a diamond: {none}")
    # The list above must itself be free of circles, or the arrows would allow one.
    listed = find_cycle({room: {t for t in ARROWS if t != room and allowed(room, t)} for room in ARROWS})
    failures += listed is not None
    print(f"{'FAILED' if listed else 'ok    '}  the allowed arrows have no circle: {listed}")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    found = problems(Path(__file__).resolve().parent.parent / "src")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
