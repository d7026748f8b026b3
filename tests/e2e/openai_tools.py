"""The embedded model's tools, from its reference prompt, in OpenAI's shape."""
import json
import re

from pensieve import reference_cases

CASES = {c["name"]: c for c in reference_cases()}
SYSTEM = "You are a helpful assistant."


def reference_tools():
    """The <tools> lines of a reference prompt are OpenAI's tools already."""
    lines = re.search(r"<tools>\n(.*?)</tools>", CASES["tool-ls"]["request"]["system"], re.S).group(1)
    return [json.loads(line) for line in lines.splitlines()]


def anthropic_tools():
    return [{"name": t["function"]["name"], "description": t["function"]["description"],
             "input_schema": t["function"]["parameters"]} for t in reference_tools()]


def reference_call(name):
    """The call in the reference's text: (tool, arguments)."""
    text = re.search(r"<tool_call>\n(.*)\n</tool_call>", CASES[name]["text"], re.S).group(1)
    call = json.loads(text)
    return call["name"], call["arguments"]


# What the reference says after its first call had this result.
RESULT = re.search(r"<tool_response>\n(.*?)\n</tool_response>",
                   CASES["tool-result"]["request"]["messages"][-1]["content"], re.S).group(1)
