"""Model signatures: made with a publisher's key, checked against the keys that count, certified by
its root.

Who may sign models for a publisher stands in its delegation (`oms_keys`), signed by its root. A key
that the current delegation does not name counts no more, whatever a signature says about itself;
so a stolen key is out as soon as a delegation without it was signed.

>>> from p2phub.formats.oms import about
>>> key, other = ModelKey(bytes(32)), ModelKey(b"o" * 32)
>>> data = sign_statement(about("minilm", [(("a.txt",), bytes(32))]), key)
>>> found = check(Bundle.unpack(data), [other.public, key.public])
>>> found.key == key.public, found.statement.name
(True, 'minilm')
>>> check(Bundle.unpack(data), [other.public])
Traceback (most recent call last):
...
p2phub.errors.UntrustedError: it is signed with key b2a0ac55819ca167…, which does not count here
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from p2phub.errors import RefusedError, UntrustedError, UsageError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.oms import Statement
from p2phub.formats.publisher import Delegation
from p2phub.formats.sigstore import Bundle, pre_authentication, shown
from p2phub.trust.model_keys import ModelKey, hint, verify


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement, and the key that has signed it."""

    statement: Statement
    key: bytes


def sign_statement(statement: Statement, key: ModelKey) -> bytes:
    """The bytes of a `model.sig`. Raises `MalformedError` if they are too many."""
    payload = statement.to_payload()
    return Bundle(payload, key.sign(pre_authentication(payload)), hint(key.public)).pack()


def check(bundle: Bundle, keys: Iterable[bytes]) -> Checked:
    """What the bundle says, if one of `keys` (compressed points) has signed it.

    Raises `UntrustedError` if it was made with another key, `WrongBytesError` if the signature is
    not right, `MalformedError` for what is no statement.
    """
    named = [key for key in keys if bundle.hint in ("", hint(key))]
    if not named:
        called = shown(bundle.hint[:16]).strip("'")
        raise UntrustedError(f"it is signed with key {called}…, which does not count here")
    signed = pre_authentication(bundle.payload)
    key = next((key for key in named if verify(key, signed, bundle.signature)), None)
    if key is None:
        raise WrongBytesError("the signature is not that of its statement")
    return Checked(Statement.from_payload(bundle.payload), key)


def certified(delegation: Delegation, key: bytes, *, alone: bool = False) -> Delegation:
    """The next delegation of a publisher, with `key` among those that sign models; `alone`: as the
    only one, because another was stolen or lost.

    Raises `UsageError` if that is so already or the key is of another curve than P-256,
    `RefusedError` if there is no room for it.
    """
    if len(key) != limits.OMS_KEY:
        raise UsageError(
            "a publisher signs models with a key of the curve P-256, and this is of another",
            remedy="use the key that `p2phub key export-oms` writes",
        )
    keys = {key} if alone else {*delegation.oms_keys, key}
    if keys == set(delegation.oms_keys):
        raise UsageError("the root has certified this key already")
    if len(keys) > limits.MAX_OMS_KEYS:
        raise RefusedError(
            f"{len(delegation.oms_keys)} keys sign models already, and no more are allowed",
            remedy="certify this one alone, in the place of the others",
        )
    return replace(delegation, version=delegation.version + 1, oms_keys=tuple(keys))
