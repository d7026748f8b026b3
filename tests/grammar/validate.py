#!/usr/bin/env python3
"""Answers sampled under a grammar against a validator that is not ours: python-jsonschema, Draft 2020-12.

    validate.py SAMPLER [--schemas N] [--answers N] [--seed N] [--keep FILE]

Every answer must parse; every answer under a schema that was compiled in full must validate. Of
schemas that were widened, it counts how many answers validate all the same."""
import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema

import schemas

ROOT = Path(__file__).resolve().parents[2]


def pieces():
    """Some of the embedded model's pieces, and some that cross the bounds of JSON's own syntax."""
    tokens = json.loads((ROOT / "src/domain/tokenizer/testdata/tiny.json").read_text())["vocabulary"]["tokens"]
    own = {t.replace("\u2581", " ") for t in tokens[::8] if not (t.startswith("<") and t.endswith(">"))}
    own |= {'","', '", "', '": "', '": ', '":', '"}', '"]', '"}}', '"}]', '{"', '[{"', '["', '[[', '{}', '[]', "}, {\"",
            "]}", '\\n', '\\"', '\\u', "\\u00", "true", "false", "null", 'é"', "日本", "🙂", "00", "123", "-1", "e+", ".5"}
    return sorted(own)


def objectors(schema, value):
    """Complaints of the validator; none if it fits. Values that a validator cannot judge are left out."""
    try:
        return [e.message[:200] for e in jsonschema.Draft202012Validator(schema).iter_errors(value)]
    except RecursionError:
        return []


def refuse_constant(name):
    raise ValueError(name)


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("duplicate names: " + str(names))
    return dict(pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sampler")
    parser.add_argument("--schemas", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="write what failed here, one JSON object a line")
    arguments = parser.parse_args()

    cases = [(f"tool {name}", schema) for name, schema in schemas.real_world().items()]
    for seed in range(arguments.schemas):
        cases.append((f"seed {arguments.seed + seed}", schemas.Random(arguments.seed + seed).schema()))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(pieces(), file)
        file.flush()
        requests = "".join(json.dumps({"schema": schema}) + "\n" for _, schema in cases)
        run = subprocess.run([arguments.sampler, file.name, str(arguments.answers), str(arguments.seed)],
                             input=requests, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(run.stderr, file=sys.stderr)
        return 1
    replies = [json.loads(line) for line in run.stdout.split("\n") if line]
    assert len(replies) == len(cases), (len(replies), len(cases))

    count, failures, why = collections.Counter(), [], collections.Counter()
    for (name, schema), reply in zip(cases, replies):
        widened = reply["widened"]
        count["schemas widened" if widened else "schemas kept in full"] += 1
        for keyword in widened:
            why[keyword] += 1
        for answer in reply["answers"]:
            try:
                value = json.loads(answer, parse_constant=refuse_constant, object_pairs_hook=no_duplicates)
            except ValueError as error:
                failures.append((name, schema, answer, f"does not parse: {error}"))
                continue
            complaints = objectors(schema, value)
            kind = "widened" if widened else "full"
            count[f"answers, {kind}"] += 1
            count[f"answers, {kind}, valid"] += not complaints
            if complaints and not widened:
                failures.append((name, schema, answer, "; ".join(complaints)))
    if arguments.keep:
        with open(arguments.keep, "w", encoding="utf-8") as file:
            for name, schema, answer, reason in failures:
                file.write(json.dumps({"name": name, "schema": schema, "answer": answer, "why": reason}) + "\n")
    for key in sorted(count):
        print(f"{count[key]:7d}  {key}")
    print("widened:", dict(why.most_common()))
    print(f"slowest compilation: {max(r['micros'] for r in replies) / 1000:.1f} ms")
    for name, schema, answer, reason in failures[:10]:
        print(f"FAILED  {name}: {reason}\n  answer {answer[:300]}\n  schema {json.dumps(schema)[:600]}")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
