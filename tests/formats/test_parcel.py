"""Documents that travel by hand: what the file holds, and every limit on both sides."""

import pytest

from p2phub.errors import MalformedError, NewerVersionError
from p2phub.formats import limits
from p2phub.formats.codec import encode
from p2phub.formats.parcel import MOST_IN_A_DOCUMENT, Parcel


def written(**changes):
    fields = {"type": "parcel", "documents": [b"one"], **changes}
    return encode({name: value for name, value in fields.items() if value is not ...})


def test_what_goes_in_comes_out_in_the_same_order():
    parcel = Parcel((b"two", b"one"))
    assert Parcel.from_bytes(parcel.to_bytes()) == parcel
    assert parcel.to_bytes() == written(documents=[b"two", b"one"])


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "root"},
        {"type": ...},
        {"type": 1},
        {"documents": ...},
        {"documents": []},
        {"documents": b"one"},
        {"documents": [b""]},
        {"documents": ["one"]},
        {"documents": [b"one", b"one"]},
    ],
    ids=repr,
)
def test_what_is_no_parcel_is_refused(changes):
    with pytest.raises(MalformedError):
        Parcel.from_bytes(written(**changes))


@pytest.mark.parametrize("data", [b"", b"\x90", b"a release", written() + b"\0", written()[:-1]])
def test_bytes_that_are_no_parcel_are_refused_and_say_so(data):
    with pytest.raises(MalformedError, match="no parcel of documents"):
        Parcel.from_bytes(data)


def test_a_key_of_a_later_version_is_refused_as_newer():
    with pytest.raises(NewerVersionError, match="it has: sealed"):
        Parcel.from_bytes(written(sealed=True))


def test_one_document_too_many_is_refused_and_not_written():
    most = tuple(b"%d" % number for number in range(limits.MAX_PARCEL_DOCUMENTS + 1))
    assert len(Parcel.from_bytes(Parcel(most[1:]).to_bytes()).documents) == 256
    with pytest.raises(MalformedError, match="at most 256"):
        Parcel(most).to_bytes()
    with pytest.raises(MalformedError, match="at most 256"):
        Parcel.from_bytes(written(documents=most))


def test_a_document_may_be_as_large_as_the_largest_release_and_no_larger():
    Parcel.from_bytes(Parcel((bytes(MOST_IN_A_DOCUMENT),)).to_bytes())
    with pytest.raises(MalformedError):
        Parcel((bytes(MOST_IN_A_DOCUMENT + 1),)).to_bytes()


def test_one_byte_over_the_limit_is_refused_before_it_is_decoded():
    around = len(written(documents=[bytes(MOST_IN_A_DOCUMENT), bytes(1 << 20)])) - (1 << 20)
    around -= MOST_IN_A_DOCUMENT
    rest = limits.MAX_PARCEL - MOST_IN_A_DOCUMENT - around
    full = (bytes(MOST_IN_A_DOCUMENT), bytes(rest))
    assert len(Parcel(full).to_bytes()) == limits.MAX_PARCEL
    with pytest.raises(MalformedError, match="at most 67108864"):
        Parcel((full[0], bytes(rest + 1))).to_bytes()
    with pytest.raises(MalformedError, match="has 67108865 bytes"):
        Parcel.from_bytes(bytes(limits.MAX_PARCEL + 1))
