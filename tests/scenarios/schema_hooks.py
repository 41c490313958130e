"""What schemathesis is told about the control API, so that it asks much and breaks nothing.

It is loaded by the child process of `test_control_schema`, which says in the environment where the
scratch folder is and which values mean something to the node.

Rules it keeps:
 * every path that a call names lies in the scratch folder, whatever was made up;
 * nobody outside this machine is asked: domains are ones that no name server is asked for;
 * half of the references, commits, aliases and files are real ones, so that calls get past the
   first look-up; which half is a matter of what was made up, so that a run can be repeated.
"""

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import jsonschema_rs
import schemathesis

SCRATCH = Path(os.environ["SCHEMA_SCRATCH"])
KNOWN: dict[str, list[Any]] = json.loads(os.environ["SCHEMA_KNOWN"])
PATHS = frozenset({"folder", "file", "to", "cache", "prepare", "proposal_file"})
SPARE = "spare"
NDJSON = "application/x-ndjson"
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # what IDNA takes for one
_WRONG = ("internal", "failed", "damaged_blob")
"""Codes of the error tree that are a 500: the node's own fault."""


@schemathesis.hook
def before_call(context: Any, case: Any, **options: Any) -> None:
    """Make a case safe, and perhaps meaningful."""
    for values in (case.body, case.query):
        if isinstance(values, dict):
            _make_safe(values)
            _make_known(values)
            if case.path.endswith("/rm") and "reference" in values:
                values["reference"] = SPARE  # the others are still needed


def _make_safe(values: dict[str, Any]) -> None:
    for key in PATHS & values.keys():
        if isinstance(values[key], str) and values[key].startswith("/"):
            parts = [each for each in values[key].split("/") if each not in ("", ".", "..")]
            values[key] = "/".join([str(SCRATCH), *parts])[:4000]
    if isinstance(values.get("domain"), str):
        values["domain"] = _DOTS.sub("-", values["domain"])  # a name without a dot asks nobody


def _make_known(values: dict[str, Any]) -> None:
    for key in sorted(KNOWN.keys() & values.keys()):
        chance = zlib.crc32(json.dumps([key, values], sort_keys=True, default=repr).encode())
        if chance % 2:
            values[key] = KNOWN[key][chance // 2 % len(KNOWN[key])]


@schemathesis.check
def no_fault_of_the_node(context: Any, response: Any, case: Any) -> None:
    """No answer is a 5xx, and no stream that began with 200 ends with the like of one."""
    assert response.status_code < 500, response.text
    for each in _lines(response):
        assert each.get("error", {}).get("code") not in _WRONG, each


@schemathesis.check
def lines_fit(context: Any, response: Any, case: Any) -> None:
    """Every line of a stream is what the document says; the last one ends it."""
    lines = _lines(response)
    if not lines:
        return
    raw = case.operation.schema.raw_schema
    said = raw["paths"][case.operation.path][case.operation.method]["responses"]["200"]
    schema = said["content"][NDJSON]["schema"] | {"components": raw["components"]}
    validator = jsonschema_rs.validator_for(schema)
    for each in lines:
        validator.validate(each)
    assert "error" in lines[-1] or lines[-1]["event"] == "done", lines[-1]


def _lines(response: Any) -> list[dict[str, Any]]:
    if response.headers.get("content-type") != [NDJSON]:
        return []
    return [json.loads(each) for each in response.text.splitlines()]


@schemathesis.check
def locked(context: Any, response: Any, case: Any) -> None:
    """Who shows no token is refused, whatever else is wrong, but where anybody may ask."""
    described = case.operation.definition.raw
    if {} not in described["security"] and described["security"]:
        assert response.status_code == 401, response.status_code
