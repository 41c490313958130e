"""The control API described to programs: an OpenAPI 3.1 document made from the table of operations.

Nothing here is written twice: paths, methods and summaries come from `operations`, the schemas from
the annotations and field sentences of the dataclasses.

>>> document()["paths"]["/control/v1/info"]["get"]["operationId"]
'info'
"""

from typing import Any, Final

from p2phub.gateway.operation import Operation
from p2phub.gateway.operations import EVENTS, OPERATIONS
from p2phub.gateway.shapes import nested, schema_of

OTHERS: Final = {
    "/healthz": "Whether the gateway answers",
    "/readyz": "Whether the node takes work; 503 while it stops",
    "/control/openapi.json": "This document",
}
"""What is not about the node: each is a GET that anyone on loopback may send."""
BYTES: Final = "application/octet-stream"
"""The type of an answer that is just bytes."""
_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong, for programs (`code`, `exit`) and people.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "exit", "message", "remedy"],
            "properties": {
                "code": {"type": "string", "description": "A name of the error tree."},
                "exit": {"type": "integer", "description": "The exit code of the command line."},
                "message": {"type": "string", "description": "What happened to which thing."},
                "remedy": {"type": "string", "description": "What to do next; may be empty."},
            },
        }
    },
}


def document() -> dict[str, Any]:
    """The whole OpenAPI document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "p2phub control API",
            "version": "1",
            "description": "What the command line and the Python client use. Sizes are bytes, times"
            " unix seconds, rates bytes a second.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The text of run/token under the home folder of the node, or a"
                    " token made by `p2phub token`. A call that names a file or a folder of the"
                    " node's machine takes the scope admin.",
                }
            },
        },
    }


def _paths() -> dict[str, Any]:
    paths = {each.path: {each.method.lower(): _operation(each)} for each in OPERATIONS}
    for path, summary in OTHERS.items():
        answer = {"content": {"application/json": {"schema": {"type": "object"}}}}
        responses = {"200": {"description": "The answer."} | answer}
        name = path.strip("/").replace("/", "_").removesuffix(".json")
        paths[path] = {
            "get": {"operationId": name, "summary": summary, "responses": responses, "security": []}
        }
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name.replace("/", "_"),
        "summary": operation.summary,
        "responses": {
            "200": _answer(operation),
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": _reference("Error")}},
            },
        },
        "security": [{}, {"token": []}] if operation.open else [{"token": [operation.scope]}],
    }
    if operation.method == "GET":
        return described | {"parameters": _parameters(operation)}
    body = {"schema": _reference(operation.takes.__name__), "example": dict(operation.example)}
    needed = bool(schema_of(operation.takes)["required"])
    return described | {"requestBody": {"required": needed, "content": {"application/json": body}}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    shape = schema_of(operation.takes)
    parameters = []
    for name, schema in shape["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in shape["required"]}
        if name in operation.example:
            parameter["example"] = operation.example[name]
        parameters.append(parameter | {"schema": schema})
    return parameters


def _answer(operation: Operation) -> dict[str, Any]:
    if operation.gives is bytes:
        raw = {"schema": {"type": "string", "format": "binary"}}
        return {"description": "The bytes.", "content": {BYTES: raw}}
    result = _result(operation)
    if not operation.streams:
        return {"description": "The answer.", "content": {"application/json": {"schema": result}}}
    done = {"properties": {"event": {"const": "done"}}, "required": ["event"]}
    lines = [_reference(each.__name__) for each in EVENTS]
    schema = {"anyOf": [*lines, {"allOf": [done, result]}, _reference("Error")]}
    return {
        "description": "Lines of JSON. The last one has the event `done`, or is an error.",
        "content": {"application/x-ndjson": {"schema": schema}},
    }


def _result(operation: Operation) -> dict[str, Any]:
    one = _reference(operation.gives.__name__)
    if not operation.under:
        return one
    items = {operation.under: {"type": "array", "items": one}}
    return {"type": "object", "required": [operation.under], "properties": items}


def _schemas() -> dict[str, Any]:
    shapes = {each for entry in OPERATIONS for each in (entry.takes, entry.gives)} | {*EVENTS}
    found = {shape for each in shapes for shape in nested(each)}
    named = sorted(found, key=lambda shape: shape.__name__)
    return {shape.__name__: schema_of(shape) for shape in named} | {"Error": _ERROR}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
