"""Schemas to sample from: random ones that cover every supported keyword, and ones in the shape of the
tool lists that clients really send, in words of our own."""
import random
import string

PATTERNS = ["^[a-z]+$", "^[A-Z][a-z0-9_]{0,10}$", "^\\d{3}-\\d{4}$", "foo", "^(get|put|post)$", "[0-9]$",
            "^#?[0-9a-fA-F]{6}$", "^v\\d+\\.\\d+(\\.\\d+)?$", "^[^/\\s]+(/[^/\\s]+)*$", "^\\S+@\\S+$", "a|b|cd$",
            "^.{2,5}$", "^(?:x|yy)*$", "\\.(txt|md)$", "^[\\w.-]+$", "^\\+?[1-9]\\d{1,14}$"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "uri", "hostname", "duration",
           "json-pointer", "uri-reference"]
NAMES = ["id", "name", "path", "kind", "tags", "x", "y", "é", "a b", "quote\"d", "back\\slash", "limit", "next"]


class Random:
    """One random schema from a seed. `strong` leaves out what is only ever widened."""

    def __init__(self, seed, strong=True):
        self.r = random.Random(seed)
        self.strong = strong
        self.n_defs = self.r.choice([0, 0, 1, 2, 3])

    def schema(self):
        root = self.any(0)
        if not isinstance(root, dict):
            root = {"anyOf": [root, {"type": "null"}]}
        if self.n_defs:
            root = {**root, "$defs": {f"d{i}": self.any(1) for i in range(self.n_defs)}}
        if self.r.random() < 0.2:
            root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return root

    def any(self, depth):
        kinds = [self.string, self.number, self.integer, self.scalar, self.enum, self.const]
        if depth < 4:
            kinds += [self.object, self.object, self.array, self.any_of, self.all_of, self.one_of,
                      self.pattern_object, self.map, self.tuple, self.conditional, self.negated]
        if self.n_defs and depth > 0:
            kinds += [self.ref]
        made = self.r.choice(kinds)(depth + 1)
        if self.r.random() < 0.1:
            made = {"title": "T", "description": "{\"type\": \"call\"}\n", "default": 1, **made}
        return made

    def maybe(self, p=0.5):
        return self.r.random() < p

    def string(self, _):
        out = {"type": "string"}
        what = self.r.randrange(6)
        if what == 0:
            out["pattern"] = self.r.choice(PATTERNS)
        elif what == 1:
            out["format"] = self.r.choice(FORMATS)
        elif what == 2:
            low = self.r.randrange(0, 12)
            out["minLength"] = low
            if self.maybe():
                out["maxLength"] = low + self.r.randrange(0, 30)
        elif what == 3:
            out["maxLength"] = self.r.randrange(0, 20)
        elif what == 4:
            out["pattern"] = self.r.choice(PATTERNS[:2] + PATTERNS[7:9])
            out["maxLength"] = self.r.randrange(8, 30)
        return out

    def bounds(self, out, pick):
        if self.maybe():
            out[self.r.choice(["minimum", "exclusiveMinimum"])] = pick(-200, 50)
        if self.maybe():
            out[self.r.choice(["maximum", "exclusiveMaximum"])] = pick(60, 100000)
        return out

    def number(self, _):
        out = self.bounds({"type": "number"}, lambda a, b: self.r.choice(
            [self.r.randint(a, b), round(self.r.uniform(a, b), self.r.randrange(0, 5))]))
        if self.maybe(0.15):
            out["multipleOf"] = self.r.choice([0.5, 0.25, 2, 0.125])
        return out

    def integer(self, _):
        out = self.bounds({"type": "integer"}, self.r.randint)
        if self.maybe(0.2):
            out["multipleOf"] = self.r.choice([2, 3, 7, 10, 25, 60, 3600])
            out.pop("exclusiveMinimum", None)
            out.pop("minimum", None)
        return out

    def scalar(self, _):
        return self.r.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]},
                              {"type": ["integer", "boolean"]}, {"type": ["number", "null"], "minimum": 3}])

    def value(self, depth=0):
        options = [None, True, False, 0, -3, 1.5, 12345678, "", "a", "é\n\"\\", "日本🙂", "\u0001"]
        if depth < 2:
            options += [[], {}, [1, "a"], {"k": [True], "é": None}]
        return self.r.choice(options)

    def enum(self, _):
        out = {"enum": [self.value() for _ in range(self.r.randrange(1, 6))]}
        if self.maybe(0.3):
            out = {"type": "string", "enum": [f"option-{i}" for i in range(self.r.randrange(1, 40))]}
        return out

    def const(self, _):
        return {"const": self.value()}

    def object(self, depth):
        names = self.r.sample(NAMES, self.r.randrange(0, 6))
        out = {"type": "object", "properties": {n: self.any(depth) for n in names}}
        required = [n for n in names if self.maybe(0.4)]
        if required:
            out["required"] = required
        more = self.r.randrange(5)
        if more == 0:
            out["additionalProperties"] = False
        elif more == 1:
            out["additionalProperties"] = self.any(depth + 1)
        elif more == 2:
            out["additionalProperties"] = True
        if self.maybe(0.15):
            out["maxProperties"] = max(len(required), self.r.randrange(1, 5))
        if self.maybe(0.15) and len(names) > 1:
            out["minProperties"] = self.r.randrange(1, len(names))
        if self.maybe(0.1) and len(names) > 1:
            out["dependentRequired"] = {names[0]: [names[1]]}
        return out

    def map(self, depth):
        out = {"type": "object", "additionalProperties": self.any(depth + 1)}
        if self.maybe():
            out["propertyNames"] = self.r.choice([{"pattern": "^[a-z]{1,3}$"}, {"maxLength": 4},
                                                  {"enum": ["u", "v", "w"]}, {"minLength": 2}])
        if self.maybe():
            out["minProperties"] = self.r.randrange(0, 4)
        if self.maybe(0.3):
            out["maxProperties"] = out.get("minProperties", 0) + self.r.randrange(0, 3)
        return out

    def pattern_object(self, depth):
        out = {"type": "object", "patternProperties": {
            p: self.any(depth + 1) for p in self.r.sample(["^x-", "^[0-9]+$", "_id$"], self.r.randrange(1, 3))}}
        if self.maybe():
            out["properties"] = {"name": self.any(depth), "x-y": self.any(depth)}
        if self.maybe():
            out["additionalProperties"] = self.r.choice([False, {"type": "integer"}])
        return out

    def array(self, depth):
        out = {"type": "array", "items": self.any(depth)}
        if self.maybe(0.3):
            out["minItems"] = self.r.randrange(0, 4)
        if self.maybe(0.3):
            out["maxItems"] = out.get("minItems", 0) + self.r.randrange(0, 4)
        return out

    def tuple(self, depth):
        out = {"type": "array", "prefixItems": [self.any(depth) for _ in range(self.r.randrange(1, 4))]}
        more = self.r.randrange(3)
        if more == 0:
            out["items"] = False
        elif more == 1:
            out["items"] = self.any(depth)
        if self.maybe(0.4):
            out["minItems"] = self.r.randrange(0, len(out["prefixItems"]) + 1)
        return out

    def any_of(self, depth):
        return {"anyOf": [self.any(depth) for _ in range(self.r.randrange(1, 4))]}

    def one_of(self, depth):
        kind = self.r.randrange(3)
        if kind == 0:
            return {"oneOf": [{"type": t} for t in self.r.sample(["string", "null", "integer", "number", "boolean"], 3)]}
        if kind == 1:
            return {"oneOf": [{"type": "object", "required": ["kind", "v"],
                               "properties": {"kind": {"const": k}, "v": self.any(depth + 1)}}
                              for k in self.r.sample("abcdef", 3)]}
        return {"oneOf": [self.any(depth) for _ in range(self.r.randrange(1, 3))]}

    def all_of(self, depth):
        kind = self.r.randrange(3)
        if kind == 0:
            return {"allOf": [{"type": "object", "properties": {"a": self.any(depth + 1)}},
                              {"properties": {"b": self.any(depth + 1)}, "required": ["a"]}]}
        if kind == 1:
            return {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 12},
                              {"pattern": self.r.choice(PATTERNS[:2] + PATTERNS[14:15])}]}
        return {"allOf": [{"type": "number", "minimum": 1}, {"maximum": self.r.randrange(2, 90)}]}

    def conditional(self, depth):
        return {"type": "object", "properties": {"mode": {"enum": ["fast", "slow"]}, "v": True},
                "required": ["mode"],
                "if": {"properties": {"mode": {"const": "fast"}}, "required": ["mode"]},
                "then": {"properties": {"v": self.any(depth + 1)}},
                "else": {"properties": {"v": {"type": "integer"}}, "required": ["v"]}}

    def negated(self, _):
        return self.r.choice([{"type": "string", "not": {"enum": ["a", "b", ""]}},
                              {"not": {"type": ["object", "array", "string"]}},
                              {"type": "object", "properties": {"p": {"type": "null"}, "q": {"type": "null"}},
                               "not": {"required": ["p"]}}])

    def ref(self, _):
        return {"$ref": f"#/$defs/d{self.r.randrange(self.n_defs)}"}


def text(**more):
    return {"type": "string", **more}


def obj(required=(), closed=True, **properties):
    out = {"type": "object", "properties": properties, "required": list(required)}
    if closed:
        out["additionalProperties"] = False
    return out


def listed(items, **more):
    return {"type": "array", "items": items, **more}


def real_world():
    """Name -> schema of a tool's arguments."""
    path = text(description="Where, absolute or from the root that was agreed on", minLength=1, maxLength=200)
    page = {"cursor": text(), "page_size": {"type": "integer", "minimum": 1, "maximum": 100, "default": 30}}
    repo = {"owner": text(pattern="^[A-Za-z0-9][A-Za-z0-9-]{0,38}$"), "repo": text(pattern="^[A-Za-z0-9._-]{1,100}$")}
    rich = {"$defs": {
        "block": {"oneOf": [
            {"type": "object", "properties": {"type": {"const": "section"}, "text": {"$ref": "#/$defs/text"}},
             "required": ["type", "text"], "additionalProperties": False},
            {"type": "object", "properties": {"type": {"const": "divider"}}, "required": ["type"],
             "additionalProperties": False},
            {"type": "object", "properties": {"type": {"const": "actions"},
                                              "elements": {"type": "array", "maxItems": 3,
                                                           "items": {"$ref": "#/$defs/block"}}},
             "required": ["type", "elements"], "additionalProperties": False}]},
        "text": {"type": "object", "properties": {"kind": {"enum": ["plain", "markdown"]},
                                                  "value": {"type": "string", "maxLength": 150}},
                 "required": ["kind", "value"], "additionalProperties": False}}}
    condition = {"$defs": {"condition": {"anyOf": [
        {"type": "object", "properties": {"column": {"type": "string"}, "op": {"enum": ["=", "<", ">", "like"]},
                                          "value": {"type": ["string", "number", "boolean", "null"]}},
         "required": ["column", "op", "value"], "additionalProperties": False},
        {"type": "object", "properties": {"and": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/condition"}}},
         "required": ["and"], "additionalProperties": False},
        {"type": "object", "properties": {"not": {"$ref": "#/$defs/condition"}}, "required": ["not"],
         "additionalProperties": False}]}}}
    labels = {"type": "object", "additionalProperties": text(maxLength=63),
              "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 63}}
    container = obj(("name", "image"), name=text(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", maxLength=63),
                    image=text(minLength=1),
                    ports=listed(obj(("containerPort",), containerPort={"type": "integer", "minimum": 1, "maximum": 65535},
                                     protocol={"enum": ["TCP", "UDP"]})),
                    env=listed(obj(("name",), name=text(pattern="^[A-Za-z_][A-Za-z0-9_]*$"), value=text())),
                    resources={"type": "object", "additionalProperties": {
                        "type": "object", "additionalProperties": text(pattern="^\\d+(m|Mi|Gi)?$")}})
    return {
        "fs_read": obj(("path",), path=path, head={"type": "integer", "minimum": 0}, tail={"type": "integer", "minimum": 0}),
        "fs_write": obj(("path", "content"), path=path, content=text()),
        "fs_edit": obj(("path", "edits"), path=path, dry_run={"type": "boolean", "default": False},
                       edits=listed(obj(("old", "new"), old=text(), new=text()), minItems=1)),
        "fs_search": obj(("path", "pattern"), closed=False, path=path, pattern=text(),
                         exclude=listed(text(), default=[])),
        "shell": obj(("command",), command=text(minLength=1), timeout_ms={"type": "number", "maximum": 600000},
                     background={"type": "boolean"}, description=text()),
        "todo": obj(("todos",), todos=listed(obj(
            ("content", "status", "id"), content=text(minLength=1),
            status={"type": "string", "enum": ["pending", "in_progress", "completed"]}, id=text()))),
        "issues_list": obj(("owner", "repo"), **repo, state={"enum": ["open", "closed", "all"]},
                           labels=listed(text()), since=text(format="date-time"), **page),
        "issue_create": obj(("owner", "repo", "title"), **repo, title=text(minLength=1, maxLength=256),
                            body={"type": ["string", "null"]}, assignees=listed(text(), maxItems=10),
                            milestone={"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}),
        "pull_review": obj(("owner", "repo", "number", "event"), **repo, number={"type": "integer", "exclusiveMinimum": 0},
                           event={"enum": ["APPROVE", "REQUEST_CHANGES", "COMMENT"]},
                           comments=listed(obj(("path", "body"), path=text(), body=text(),
                                               line={"type": "integer", "minimum": 1}, side={"enum": ["LEFT", "RIGHT"]}))),
        "commit_files": obj(("owner", "repo", "files", "sha"), **repo, sha=text(pattern="^[0-9a-f]{40}$"),
                            files=listed(obj(("path", "content"), path=text(), content=text()), minItems=1, maxItems=50)),
        "sql_query": obj(("sql",), sql=text(), parameters=listed({"type": ["string", "number", "null"]}),
                         limit={"type": "integer", "minimum": 1, "maximum": 1000}, read_only={"const": True}),
        "sql_select": {**obj(("table",), table=text(pattern="^[a-z_][a-z0-9_]*$"), columns=listed(text(), minItems=1),
                             where={"$ref": "#/$defs/condition"},
                             order=listed({"type": "array", "prefixItems": [text(), {"enum": ["asc", "desc"]}],
                                           "items": False, "minItems": 2})), **condition},
        "chat_post": {**obj(("channel",), channel=text(pattern="^[CDG][A-Z0-9]{8,10}$"), text=text(),
                            thread_ts=text(pattern="^\\d{10}\\.\\d{6}$"), blocks=listed({"$ref": "#/$defs/block"})), **rich},
        "chat_react": obj(("channel", "timestamp", "name"), channel=text(), timestamp=text(), name=text(pattern="^[a-z0-9_+'-]+$")),
        "browser_open": obj(("url",), url=text(format="uri"), wait={"enum": ["load", "idle", "none"]},
                            viewport=obj(("width", "height"), width={"type": "integer", "minimum": 320, "maximum": 3840},
                                         height={"type": "integer", "minimum": 200, "maximum": 2160})),
        "browser_click": {"type": "object", "properties": {"selector": text(minLength=1), "x": {"type": "number"},
                                                           "y": {"type": "number"}, "button": {"enum": ["left", "middle", "right"]}},
                          "anyOf": [{"required": ["selector"]}, {"required": ["x", "y"]}], "additionalProperties": False},
        "browser_fill": obj(("fields",), fields={"type": "object", "additionalProperties": text(), "minProperties": 1}),
        "deploy": obj(("metadata", "spec"), apiVersion={"const": "apps/v1"}, kind={"const": "Deployment"},
                      metadata=obj(("name",), name=text(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", maxLength=63),
                                   namespace=text(), labels=labels),
                      spec=obj(("template",), replicas={"type": "integer", "minimum": 0, "maximum": 100},
                               selector=obj((), matchLabels=labels),
                               template=obj(("containers",), containers=listed(container, minItems=1)))),
        "scale": obj(("name", "replicas"), name=text(), replicas={"type": "integer", "minimum": 0, "maximum": 500},
                     strategy={"oneOf": [obj(("type",), type={"const": "Recreate"}),
                                         obj(("type", "max_surge"), type={"const": "Rolling"},
                                             max_surge={"type": "string", "pattern": "^(100|[1-9]?[0-9])%$"})]}),
        "http_request": {"type": "object", "required": ["method", "url"], "properties": {
            "method": {"enum": ["GET", "POST", "PUT", "DELETE"]}, "url": text(format="uri"),
            "headers": {"type": "object", "additionalProperties": text()}, "body": {}, "timeout": {"type": "number", "exclusiveMinimum": 0}},
            "if": {"properties": {"method": {"const": "GET"}}, "required": ["method"]},
            "then": {"properties": {"body": False}}, "else": {"required": ["body"]}},
        "payment": obj(("amount", "currency", "to"), amount={"type": "number", "exclusiveMinimum": 0, "maximum": 99999.5},
                       currency=text(pattern="^[A-Z]{3}$"), to={"oneOf": [obj(("iban",), iban=text(pattern="^[A-Z]{2}\\d{2}[A-Z0-9]{11,30}$")),
                                                                         obj(("card",), card=text(pattern="^\\d{16}$"))]},
                       reference=text(maxLength=35), due=text(format="date")),
        "calendar": obj(("title", "start", "end"), title=text(minLength=1), start=text(format="date-time"), end=text(format="date-time"),
                        attendees=listed(obj(("email",), email=text(format="email"), optional={"type": "boolean"})),
                        repeat={"anyOf": [{"type": "null"}, obj(("every", "unit"), every={"type": "integer", "minimum": 1, "maximum": 30},
                                                                unit={"enum": ["day", "week", "month"]})]}),
        "tree": {"$ref": "#/$defs/node", "$defs": {"node": obj(("value",), value={"type": "integer"}, left={"$ref": "#/$defs/node"},
                                                               right={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})}},
        "openapi_pet": {"allOf": [{"$ref": "#/definitions/Base"}, {"type": "object", "properties": {
            "tag": text(), "status": {"type": "string", "enum": ["available", "sold"]}}}],
            "definitions": {"Base": {"type": "object", "required": ["id", "name"], "properties": {
                "id": {"type": "integer", "format": "int64", "minimum": 0}, "name": text(), "photoUrls": listed(text(format="uri"))}}}},
        "metrics": obj(("series",), series=listed(obj(("labels", "points"), labels={"type": "object", "patternProperties": {
            "^[a-z_]+$": text()}, "additionalProperties": False}, points=listed(
                {"type": "array", "prefixItems": [{"type": "integer", "minimum": 0}, {"type": "number"}], "minItems": 2, "maxItems": 2})), minItems=1)),
        "free_form": {"type": "object"},
        "nothing": {"type": "object", "properties": {}, "additionalProperties": False},
        "no_schema": {},
        "draft4": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {
            "v": {"type": "array", "items": {"type": "number"}, "minItems": 2}}, "required": ["v"]},
    }
