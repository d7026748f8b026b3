#!/usr/bin/env python3
"""Make src/domain/chat/testdata/templates.json: conversations as models' own templates write them.

Run with the Jinja templates of the models, which stay outside of the repository (llama.cpp's
repository keeps them in models/templates):

  python3 -m venv /tmp/chat && /tmp/chat/bin/pip install jinja2
  /tmp/chat/bin/python tools/reference/make_chat_fixtures.py DIRECTORY

Each case has the request in the Messages API's form, what is passed to the template is derived from
it here: system text, one message a turn, results as messages of the role "tool".
"""
import json
import os
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
OUT = os.path.join(ROOT, "src", "domain", "chat", "testdata", "templates.json")
TOOLS = [{"name": "Bash", "description": "Runs a \"command\".",
          "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}},
         {"name": "Now", "description": "Tells the time.", "input_schema": {"type": "object", "properties": {}}}]


def call(id, name, **arguments):
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def result(id, text):
    return {"type": "tool_result", "tool_use_id": id, "content": text}


TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Is 1 < 2?\n  Yes or no."}]
LOOP = [{"role": "user", "content": "List src"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call("a", "Bash", command="ls \"src\"")]},
        {"role": "user", "content": [result("a", "main.cpp\nöl.txt")]},
        {"role": "assistant", "content": [call("b", "Bash", command="date"), call("c", "Now")]},
        {"role": "user", "content": [result("b", "today"), result("c", "now")]},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks"}]
# name -> template, request, variables for the template
CASES = {
    "qwen3 talk": ("Qwen-Qwen3-0.6B", {"messages": TALK, "thinking": {"type": "enabled", "budget_tokens": 1024}}, {}),
    "qwen3 talk, no thinking": ("Qwen-Qwen3-0.6B", {"messages": TALK}, {"enable_thinking": False}),
    "qwen3 system": ("Qwen-Qwen3-0.6B", {"system": "Be brief.", "messages": TALK[:1]}, {"enable_thinking": False}),
    "qwen3 tools": ("Qwen-Qwen3-0.6B", {"system": "Be brief.", "tools": TOOLS, "messages": LOOP},
                    {"enable_thinking": False}),
    "qwen3 tools without system": ("Qwen-Qwen3-0.6B", {"tools": TOOLS[:1], "messages": LOOP[:1]},
                                   {"enable_thinking": False}),
    "llama3 talk": ("meta-llama-Llama-3.2-3B-Instruct", {"system": "Be brief.", "messages": TALK}, {}),
}
# Llama 3's template tells a date that changes every day; it is left out here, as the server leaves it out.
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"


def messages_of(request):
    messages = [{"role": "system", "content": request["system"]}] if "system" in request else []
    for message in request["messages"]:
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        text = "".join(b["text"] for b in blocks if b["type"] == "text")
        calls = [{"type": "function", "function": {"name": b["name"], "arguments": b["input"]}}
                 for b in blocks if b["type"] == "tool_use"]
        for b in blocks:
            if b["type"] == "tool_result":
                messages.append({"role": "tool", "content": b["content"]})
        if text or calls:
            messages.append({"role": message["role"], "content": text, **({"tool_calls": calls} if calls else {})})
    return messages


def render(template, request, variables):
    # As transformers sets Jinja up.
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = lambda value, **more: json.dumps(value, ensure_ascii=False, **more)
    env.globals["raise_exception"] = lambda message: (_ for _ in ()).throw(ValueError(message))
    tools = [{"type": "function", "function": {"name": t["name"], "description": t["description"],
                                               "parameters": t["input_schema"]}} for t in request.get("tools", [])]
    return env.from_string(template).render(messages=messages_of(request), **({"tools": tools} if tools else {}),
                                            bos_token="", eos_token="<|endoftext|>", add_generation_prompt=True,
                                            **variables)


def main():
    directory = sys.argv[1]
    cases = []
    for name, (template, request, variables) in CASES.items():
        with open(os.path.join(directory, template + ".jinja"), encoding="utf-8") as f:
            text = f.read()
        prompt = render(text, request, variables)
        if template.startswith("meta"):
            assert DATES in prompt
            prompt = prompt.replace(DATES, "")
        cases.append({"name": name, "template": template, "request": {"model": "m", "max_tokens": 9, **request},
                      "prompt": prompt})
    with open(OUT, "w", encoding="utf-8") as f:
        json.dump({"about": "Made by tools/reference/make_chat_fixtures.py with Jinja " + jinja2.__version__,
                   "cases": cases}, f, indent=1, ensure_ascii=False)
        f.write("\n")
    for case in cases:
        print("==== %s\n%s" % (case["name"], case["prompt"]))


if __name__ == "__main__":
    main()
