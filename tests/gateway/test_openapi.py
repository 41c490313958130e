"""The OpenAPI document says what the gateway does, and what it does fits the document."""

import json
import re

import pytest

from p2phub.config import Endpoint
from p2phub.gateway.control import Control
from p2phub.gateway.guard import Gate
from p2phub.gateway.openapi import BYTES, document
from p2phub.gateway.operations import EVENTS, OPERATIONS
from p2phub.gateway.server import routes
from p2phub.gateway.shapes import from_json
from p2phub.testing.nodes import FILE, FakeNode

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
KINDS = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def complaints(schema, value, at="$"):
    """What is wrong with `value` by the part of JSON Schema that the document uses."""
    known = {"$ref", "type", "format", "properties", "required", "items", "enum", "anyOf", "allOf"}
    assert set(schema) <= known | {"const", "description"}, f"{at}: this test must learn {schema}"
    if "$ref" in schema:
        return complaints(SCHEMAS[schema["$ref"].rpartition("/")[2]], value, at)
    if "const" in schema and value != schema["const"]:
        return [f"{at} is not {schema['const']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is none of {schema['enum']}"]
    if "type" in schema and not is_kind(schema["type"], value):
        return [f"{at} is no {schema['type']}: {value!r}"]
    found = []
    if "anyOf" in schema and all(complaints(each, value, at) for each in schema["anyOf"]):
        found.append(f"{at} fits nothing of anyOf")
    for each in schema.get("allOf", ()):
        found += complaints(each, value, at)
    found += [f"{at} lacks {key}" for key in schema.get("required", ()) if key not in value]
    for key, each in schema.get("properties", {}).items():
        if key in value:
            found += complaints(each, value[key], f"{at}.{key}")
    if "items" in schema:
        for number, item in enumerate(value):
            found += complaints(schema["items"], item, f"{at}[{number}]")
    return found


def is_kind(kind, value):
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, KINDS[kind])


def response_schema(operation):
    answer = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]["200"]
    (content,) = answer["content"].values()
    return content["schema"]


def test_every_route_appears():
    described = {
        (method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item
    }
    gate = Gate(Endpoint("127.0.0.1", 1), ("t" * 32,))
    served = routes(Control(FakeNode(), gate))
    assert described == {
        (method, route.path) for route in served for method in route.methods - {"HEAD"}
    }
    assert {(each.method, each.path) for each in OPERATIONS} < described


def test_every_reference_leads_somewhere():
    references = set()

    def walk(value):
        if isinstance(value, dict):
            references.update({value["$ref"]} if "$ref" in value else ())
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                walk(each)

    walk(DOCUMENT)
    assert references <= {f"#/components/schemas/{name}" for name in SCHEMAS}
    assert len(references) > 10


def test_the_document_is_json_and_names_its_version():
    assert json.loads(json.dumps(DOCUMENT))["openapi"] == "3.1.0"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_the_examples_fit(operation):
    assert complaints(SCHEMAS[operation.takes.__name__], dict(operation.example)) == []
    assert from_json(operation.takes, dict(operation.example)) is not None


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_only_open_operations_may_be_called_without_a_token(operation):
    security = DOCUMENT["paths"][operation.path][operation.method.lower()]["security"]
    assert ({} in security) == operation.open


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_real_answers_fit(served, operation):
    example = dict(operation.example)
    if "reference" in example:
        example["reference"] = "lab/minilm"
    how = {"params": example} if operation.method == "GET" else {"json": example}
    answer = await served.client.request(operation.method, operation.path, **how)
    assert answer.status_code == 200, answer.text
    if operation.gives is bytes:
        assert answer.content == FILE[:8]
        assert answer.headers["content-type"] == BYTES
        return
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "error" not in lines[-1]
    for each in lines:
        assert complaints(response_schema(operation), each) == []


async def test_errors_fit(served):
    answer = await served.client.get("/control/v1/info", params={"reference": "lab/none"})
    assert complaints(SCHEMAS["Error"], answer.json()) == []


async def test_the_document_is_served_to_anyone_on_loopback(served):
    answer = await served.stranger.get("/control/openapi.json")
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


async def test_a_body_is_called_needed_where_a_call_without_one_is_refused(served):
    for each in OPERATIONS:
        if each.method != "POST" or each.streams:
            continue
        needed = DOCUMENT["paths"][each.path]["post"]["requestBody"]["required"]
        answer = await served.client.post(each.path)
        assert (answer.status_code == 400) == needed, each.name


@pytest.mark.parametrize("shape", EVENTS, ids=lambda shape: shape.event)
def test_events_are_told_apart_by_their_name(shape):
    schema = SCHEMAS[shape.__name__]
    assert schema["properties"]["event"] == {"const": shape.event}
    assert "event" in schema["required"]


def test_every_field_says_its_unit_or_speaks_for_itself():
    """Numbers need a sentence; their unit is in it or in the name."""
    plain = re.compile("bytes|files|size|seconds|limit")
    for name, schema in SCHEMAS.items():
        for key, each in schema.get("properties", {}).items():
            if each.get("type") in ("integer", "number") and not plain.match(key):
                assert each.get("description"), f"{name}.{key}"
