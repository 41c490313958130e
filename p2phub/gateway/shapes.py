"""Values and JSON: reads a request into its dataclass, and describes any dataclass as JSON Schema.

The dataclasses of `node.values` are the only place where the shape of a request or an answer is
written down. Here it is read back from their annotations, so that the control API, its OpenAPI
document and the node cannot drift apart.

Rules: an unknown key, a missing one and a value of the wrong kind are each a `UsageError` that
names the key; nothing is converted silently, except that a query string, which has only text, may
carry whole numbers. What a value means is for the node to judge.

>>> from p2phub.node.values import PullRequest
>>> from_json(PullRequest, {"reference": "lab/minilm", "include": ["*.json"]}).include
('*.json',)
>>> schema_of(PullRequest)["required"]
['reference']
"""

import ast
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from p2phub.errors import UsageError

T = TypeVar("T")
LARGEST: Final = 2**53 - 1
"""Of a whole number, which programs in every language can hold."""
_PLAIN: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string", "format": "path"},
    type(None): {"type": "null"},
}


# ---------------------------------------------------------------- reading


def from_json(shape: type[T], data: object) -> T:
    """The dataclass `shape` with what the JSON object `data` says. Raises `UsageError`."""
    if not isinstance(data, Mapping):
        raise UsageError("the body of this call must be a JSON object")
    hints, known = get_type_hints(shape), {each.name: each for each in _fields(shape)}
    for key in data:
        if key not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f'this call knows no "{key}"', remedy=f"What it knows: {names}.")
    for name, each in known.items():
        if name not in data and _is_required(each):
            raise UsageError(f'this call needs "{name}"', remedy=sentence_of(shape, name))
    return shape(**{key: _read(hints[key], value, key) for key, value in data.items()})


def from_query(shape: type[T], pairs: Sequence[tuple[str, str]]) -> T:
    """The dataclass `shape` from a query string; a key may repeat only where a list is meant."""
    hints, data = get_type_hints(shape), dict[str, object]()
    for key, text in pairs:
        hint = hints.get(key)
        if get_origin(hint) is tuple:
            data[key] = [*_list(data.get(key)), text]
        elif key in data:
            raise UsageError(f'"{key}" is given twice')
        else:
            data[key] = int(text) if _takes_number(hint) and _is_whole(text) else text
    return from_json(shape, data)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _takes_number(hint: object) -> bool:
    return int in _choices(hint)


def _choices(hint: object) -> tuple[object, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _read(hint: object, value: object, key: str) -> object:
    for choice in _choices(hint):
        match choice, value:
            case _ if choice is Path and isinstance(value, str):
                return Path(value)
            case _ if get_origin(choice) is tuple and isinstance(value, list):
                return tuple(_read(get_args(choice)[0], item, key) for item in value)
            case _ if get_origin(choice) is Literal and value in get_args(choice):
                return value
            case _ if choice is int and type(value) is int and abs(value) > LARGEST:
                raise UsageError(f'"{key}" is {_shown(value)}; {LARGEST} is the most')
            case _ if isinstance(choice, type) and type(value) is choice:
                return value
    raise UsageError(f'"{key}" must be {_expected(hint)}, not {_shown(value)}')


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _expected(hint: object) -> str:
    words = []
    for choice in _choices(hint):
        if get_origin(choice) is Literal:
            words += [f'"{each}"' for each in get_args(choice)]
        elif get_origin(choice) is tuple:
            words.append("a list of texts")
        else:
            names = {str: "text", int: "a whole number", bool: "true or false", Path: "a path"}
            words.append(names.get(choice, "null") if isinstance(choice, type) else "null")
    return " or ".join(words)


# ---------------------------------------------------------------- describing


def schema_of(shape: Any) -> dict[str, Any]:
    """The JSON Schema of a type; a nested dataclass is a `$ref` into the OpenAPI components."""
    return _object_schema(shape) if is_dataclass(shape) else _schema(shape)


def nested(shape: Any) -> set[type]:
    """Every dataclass that the schema of `shape` refers to, itself included."""
    found: set[type] = set()
    pending = [shape]
    while pending:
        current = pending.pop()
        if is_dataclass(current) and isinstance(current, type) and current not in found:
            found.add(current)
            pending += get_type_hints(current).values()
        pending += [each for each in get_args(current) if each is not Ellipsis]
    return found


def _object_schema(shape: Any) -> dict[str, Any]:
    hints = get_type_hints(shape)
    properties = {}
    if isinstance(name := getattr(shape, "event", None), str):
        properties["event"] = {"const": name}
    for each in _fields(shape):
        described = _schema(hints[each.name])
        if sentence := sentence_of(shape, each.name):
            described = described | {"description": sentence}
        properties[each.name] = described
    required = [name for name in properties if name == "event" or name in _required(shape)]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return schema | {"description": inspect.cleandoc(shape.__doc__ or "")}


def _schema(hint: Any) -> dict[str, Any]:
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if is_dataclass(hint) and isinstance(hint, type):
        return {"$ref": f"#/components/schemas/{hint.__name__}"}
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin is Literal:
            return {"type": "string", "enum": list(arguments)}
        case origin if origin is tuple or origin is list:
            return {"type": "array", "items": _schema(arguments[0])}
        case origin if origin in (Union, types.UnionType):
            return {"anyOf": [_schema(each) for each in arguments]}
    raise TypeError(f"{hint} has no place in the control API")


def _fields(shape: Any) -> tuple[Field[Any], ...]:
    return fields(shape)


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _required(shape: Any) -> set[str]:
    return {each.name for each in _fields(shape) if _is_required(each)}


@cache
def _sentences(shape: type) -> dict[str, str]:
    """The text under each field of a dataclass, read from its source."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(shape)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for before, after in pairwise(body):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
    return found


def sentence_of(shape: type, name: str) -> str:
    """What the dataclass says under its field `name`; empty where it says nothing."""
    return _sentences(shape).get(name, "")
