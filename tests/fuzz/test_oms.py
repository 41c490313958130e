"""Model signatures of strangers, hostile and torn: parse or our own error, in bounded work."""

import json

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.oms import Statement, about
from p2phub.formats.paths import check_path, check_unique
from p2phub.formats.sigstore import Bundle
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.model_signatures import check, sign_statement

KEY = ModelKey(b"k" * 32)
STATEMENT = about("minilm", [(("a", "b é.txt"), sha256(b"a")), (("c",), sha256(b"c"))])
PAYLOAD, SIGNED = STATEMENT.to_payload(), sign_statement(STATEMENT, KEY)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
DIGESTS = st.sampled_from([sha256(b"a").hex(), sha256(b"b").hex(), "00" * 64, "x"])
NAMES = st.sampled_from(["a", "a/b", "A", "a:0:5", "a:5:9", "b:0:1", "..", "", "é"]) | st.text()
ALGORITHMS = st.sampled_from(["sha256", "blake2b", "blake3", "sha256-sharded-5"])
RESOURCES = st.lists(
    st.fixed_dictionaries({"name": NAMES, "algorithm": ALGORITHMS, "digest": DIGESTS}) | VALUES,
    max_size=4,
)
HOW = st.fixed_dictionaries(
    {"method": st.sampled_from(["files", "shards", "x"]), "hash_type": ALGORITHMS | VALUES},
    optional={"shard_size": st.sampled_from([5, 5.0, 0]) | VALUES, "ignore_paths": VALUES},
)


def check_statement(data: bytes) -> None:
    """Parse, and check what every statement promises whatever was parsed."""
    try:
        found = Statement.from_payload(data)
    except MalformedError:
        return
    assert Statement.from_payload(found.to_payload()) == found
    assert found.files
    for file in found.files:
        check_path(file.path)
        assert file.stretches[0].start == 0
    check_unique([file.path for file in found.files])


def check_bundle(data: bytes) -> None:
    try:
        found = Bundle.unpack(data)
    except MalformedError:
        return
    assert Bundle.unpack(found.pack()) == found
    try:
        checked = check(found, [KEY.public])
    except UntrustedError:
        return
    assert checked.statement == STATEMENT


@given(st.binary(max_size=200))
def test_noise_is_no_signature_and_no_statement(data):
    check_bundle(data)
    check_statement(data)


@given(st.dictionaries(st.sampled_from([*json.loads(SIGNED), "x"]), VALUES))
def test_a_bundle_of_any_shape(parts):
    check_bundle(json.dumps(json.loads(SIGNED) | parts).encode())


@given(RESOURCES, HOW | VALUES, VALUES)
def test_a_statement_of_any_shape(resources, how, own):
    text = json.loads(PAYLOAD)
    text["predicate"] = {"resources": resources, "serialization": how, "p2phub": own}
    digests = [each.get("digest") for each in resources if isinstance(each, dict)]
    raw = b"".join(
        bytes.fromhex(each) for each in digests if isinstance(each, str) and len(each) > 60
    )
    text["subject"][0]["digest"]["sha256"] = sha256(raw).hex()
    check_statement(json.dumps(text).encode())


@given(st.sampled_from([PAYLOAD, SIGNED]), st.data())
def test_a_few_changed_bytes(data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    check_statement(bytes(changed))
    check_bundle(bytes(changed))


@given(st.sampled_from([PAYLOAD, SIGNED]), st.data())
def test_every_beginning(data, draw):
    cut = data[: draw.draw(st.integers(0, len(data) - 1))]
    check_statement(cut)
    check_bundle(cut)
