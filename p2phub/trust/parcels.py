"""What is in a parcel, and one parcel made of several.

Several people sign one document, each on a machine of its own: two parcels become one that has
every document of both, and each document with the signatures of both.

Rules it keeps:
 * a signature that does not verify is not carried on;
 * nothing in a parcel is believed here: whether signatures count is for the gate to say.

>>> from p2phub.trust.envelope import sign_payload
>>> from p2phub.trust.keys import SigningKey
>>> alice, bob = SigningKey(b"a" * 32), SigningKey(b"b" * 32)
>>> one, two = (Parcel((sign_payload("root", b"...", [key]).pack(),)) for key in (alice, bob))
>>> (both,) = envelopes(merged([one, two]), "root")
>>> both.signed_by() == {alice.public, bob.public}
True
"""

from collections.abc import Iterable

from p2phub.errors import MalformedError
from p2phub.formats.digest import sha256
from p2phub.formats.parcel import Parcel
from p2phub.trust.envelope import Envelope, is_envelope, merge, unpack


def envelopes(parcel: Parcel, type: str | None = None) -> tuple[Envelope, ...]:
    """The envelopes in a parcel, of one type or all; pages, which are in none, are passed over.

    Raises `MalformedError` for an envelope that does not parse.
    """
    found = (unpack(data) for data in parcel.documents if is_envelope(data))
    return tuple(each for each in found if type in (None, each.type))


def packed(documents: Iterable[Envelope]) -> Parcel:
    """A parcel of these documents, each once with all its signatures."""
    return merged([Parcel(tuple(each.pack() for each in documents))])


def merged(parcels: Iterable[Parcel]) -> Parcel:
    """Every document of these parcels once, with the signatures of all that verify.

    Raises `MalformedError` for a document that does not parse, one that gets too many signatures,
    and more documents than a parcel holds.
    """
    kept: dict[tuple[str, bytes], bytes | Envelope] = {}
    for data in (data for parcel in parcels for data in parcel.documents):
        if not is_envelope(data):
            kept.setdefault(("", sha256(data)), data)
            continue
        envelope = unpack(data)
        name = (envelope.type, envelope.digest)
        known = kept.get(name, envelope)
        assert isinstance(known, Envelope), "pages have a name of their own"
        kept[name] = merge(known, envelope)
    if not kept:
        raise MalformedError("a parcel without documents")
    parcel = Parcel(
        tuple(each.pack() if isinstance(each, Envelope) else each for each in kept.values())
    )
    parcel.to_bytes()
    return parcel
