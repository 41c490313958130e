"""Values as JSON and bytes, and back: how `wire` writes what crosses to a worker.

It reads the types of the fields, so that a field that is added to a value needs nothing here. A
value is a map of those fields that are not at their defaults; bytes stand in a blob beside the
JSON, in the order of the fields, with their length in the JSON.

Rules it keeps:
 * what a program of ours packs is unpacked equal, lists within free JSON included;
 * whatever is unpacked, the answer is a value of that type or `GarbageError`: who runs code of a
   model may send anything.

>>> from p2phub.inference.requests import Finished
>>> packed = pack(Finished, Finished("stop", 3, 4))
>>> packed
({'reason': 'stop', 'prompt_tokens': 3, 'completion_tokens': 4}, b'')
>>> unpack(Finished, *packed)
Finished(reason='stop', prompt_tokens=3, completion_tokens=4, cached_tokens=0, stopped_by='')
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from p2phub.errors import GarbageError, UsageError
from p2phub.formats.ids import ContentId

T = TypeVar("T")


class _Blob:
    """The bytes that lie beside the JSON, taken in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if size < 0 or self._at > len(self._data):
            raise GarbageError("bytes are missing beside a message")
        return self._data[start : self._at]

    def end(self) -> None:
        if self._at != len(self._data):
            raise GarbageError("there are more bytes beside a message than it names")


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are written."""

    made_of: type
    """The class of its values; `object`: any."""
    shape: type
    """The class of its JSON; `object`: any."""
    pack: Callable[[Any, list[bytes]], Any]
    unpack: Callable[[Any, _Blob], Any]


def pack(kind: type[T], value: T) -> tuple[Any, bytes]:
    """The JSON of a value of that type, and the bytes beside it."""
    parts: list[bytes] = []
    made = _form(cast(Any, kind)).pack(value, parts)
    return made, b"".join(parts)


def unpack(kind: type[T], made: Any, blob: bytes = b"") -> T:
    """The value that `pack` was given. Raises `GarbageError`."""
    rest = _Blob(blob)
    value = _form(cast(Any, kind)).unpack(made, rest)
    rest.end()
    return cast(T, value)


@cache
def _form(kind: Any) -> _Form:
    """How a type is written. Raises `TypeError` for one that has no form here."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return _Form(object, object, lambda value, _: value, lambda made, _: made)
    if kind in (str, int, bool, float, NoneType):
        return _plain(kind)
    if kind is bytes:
        return _Form(bytes, int, _pack_bytes, _unpack_bytes)
    if kind is ContentId:
        return _Form(ContentId, str, lambda value, _: str(value), _unpack_content)
    if origin is Literal:
        return _Form(str, str, lambda value, _: value, _one_of(inner))
    if origin in (Union, UnionType):
        return _either([_form(each) for each in inner])
    if origin is tuple and inner[1:] == (...,):
        return _row(_form(inner[0]))
    if origin is Mapping:
        return _map(_form(inner[0]), _form(inner[1]))
    if is_dataclass(kind):
        return _record(kind)
    raise TypeError(f"no form for {kind}")


def _plain(kind: type) -> _Form:
    def unpack_plain(made: Any, _: _Blob) -> Any:
        if type(made) is not kind and not (kind is float and type(made) is int):
            raise _wrong(kind, made)
        return made

    return _Form(kind, kind, lambda value, _: value, unpack_plain)


def _pack_bytes(value: bytes, parts: list[bytes]) -> int:
    parts.append(value)
    return len(value)


def _unpack_bytes(made: Any, blob: _Blob) -> bytes:
    if type(made) is not int:
        raise _wrong(bytes, made)
    return blob.take(made)


def _unpack_content(made: Any, _: _Blob) -> ContentId:
    try:
        return ContentId.parse(made if isinstance(made, str) else "")
    except UsageError:
        raise _wrong(ContentId, made) from None


def _one_of(allowed: tuple[Any, ...]) -> Callable[[Any, _Blob], Any]:
    def unpack_literal(made: Any, _: _Blob) -> Any:
        if not isinstance(made, str) or made not in allowed:
            raise _wrong(str, made)
        return made

    return unpack_literal


def _either(forms: list[_Form]) -> _Form:
    """One of several types, told apart by what their JSON looks like."""
    by_shape = {form.shape: form for form in forms}
    if len(by_shape) != len(forms) or object in by_shape:
        raise TypeError("two types of a union look the same as JSON")

    def pack_either(value: Any, parts: list[bytes]) -> Any:
        fits = [form for form in forms if type(value) is form.made_of]
        fits += [form for form in forms if isinstance(value, form.made_of)]
        if fits:
            return fits[0].pack(value, parts)
        return value  # an int where a float may stand

    def unpack_either(made: Any, blob: _Blob) -> Any:
        form = by_shape.get(type(made)) or (by_shape.get(float) if type(made) is int else None)
        if form is None:
            raise _wrong(object, made)
        return form.unpack(made, blob)

    return _Form(object, object, pack_either, unpack_either)


def _row(item: _Form) -> _Form:
    def unpack_row(made: Any, blob: _Blob) -> Any:
        if not isinstance(made, list):
            raise _wrong(list, made)
        return tuple([item.unpack(each, blob) for each in made])

    def pack_row(value: Any, parts: list[bytes]) -> Any:
        return [item.pack(each, parts) for each in value]

    return _Form(tuple, list, pack_row, unpack_row)


def _map(key: _Form, item: _Form) -> _Form:
    """A map whose keys need not be text: pairs."""

    def unpack_map(made: Any, blob: _Blob) -> Any:
        if not isinstance(made, list) or not all(
            isinstance(each, list) and len(each) == 2 for each in made
        ):
            raise _wrong(list, made)
        pairs = [(key.unpack(name, blob), item.unpack(value, blob)) for name, value in made]
        return dict(pairs)

    def pack_map(value: Any, parts: list[bytes]) -> Any:
        return [[key.pack(name, parts), item.pack(each, parts)] for name, each in value.items()]

    return _Form(Mapping, list, pack_map, unpack_map)


def _record(kind: Any) -> _Form:
    """A frozen dataclass of ours; one that names itself is looked up when it is met."""
    hints = get_type_hints(kind)
    standards = {each.name: _standard(each) for each in fields(kind)}
    forms: dict[str, _Form] = {}

    def met() -> dict[str, _Form]:
        if not forms:
            forms.update({name: _form(hints[name]) for name in standards})
        return forms

    def pack_record(value: Any, parts: list[bytes]) -> Any:
        made = {}
        for name, form in met().items():
            held, standard = getattr(value, name), standards[name]
            if standard is MISSING or type(held) is not type(standard) or held != standard:
                made[name] = form.pack(held, parts)
        return made

    def unpack_record(made: Any, blob: _Blob) -> Any:
        if not isinstance(made, dict) or not standards.keys() >= made.keys():
            raise _wrong(kind, made)
        found = {
            name: form.unpack(made[name], blob) for name, form in met().items() if name in made
        }
        try:
            return kind(**found)
        except (TypeError, UsageError) as error:
            raise GarbageError(f"this is no {kind.__name__}: {error}") from None

    return _Form(kind, dict, pack_record, unpack_record)


def _standard(field: Any) -> Any:
    """The default of a field."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _wrong(kind: type, made: Any) -> GarbageError:
    return GarbageError(f"where {kind.__name__} should stand, there is {repr(made)[:80]}")
