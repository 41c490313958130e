"""Documents from strangers: parsed or refused with an error of ours, written back byte for byte.

The invariants of every decoder: arbitrary bytes parse or raise our own error; what was parsed is
written back as it was, unknown keys too; one changed byte fails or is another document.
"""

import runpy
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2phub.errors import MalformedError, P2PHubError, UsageError
from p2phub.formats.approval import Approval
from p2phub.formats.card import card_from_readme
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import KNOWN_REQUIREMENTS, TYPES
from p2phub.formats.ids import ContentId, PublisherId, Reference
from p2phub.formats.inventory import Inventory, Receipt
from p2phub.formats.limits import MAX_PAGE
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.notices import NOTICES
from p2phub.formats.pages import Page, Ref, RepoEntry, build_pages, find_in_page
from p2phub.formats.paths import check_path, check_unique, parse_path
from p2phub.formats.publisher import Delegation, Head, Index, Root
from tests.fuzz.values import texts, values

GOLDEN = Path(__file__).parent.parent / "golden"
EXAMPLES = {
    name: document
    for file in ("make.py", "make_sites.py", "make_approvals.py")
    for name, document in runpy.run_path(str(GOLDEN / file))["documents"]().items()
}
CLASSES = (Root, Delegation, Index, Page, Head, Release, Inventory, Receipt, Approval)

documents = st.sampled_from(sorted(EXAMPLES))


def read_as(cls, data):
    """The document, or None if it is refused with an error of ours."""
    try:
        return cls.from_payload(data)
    except MalformedError:
        return None


@given(st.binary(max_size=200))
@example(b"\x81\xa4type\xa4root")
@example(b"\xc7\x00\x05")
def test_arbitrary_bytes_never_escape_the_codec(data):
    try:
        value = decode(data, limit=200)
    except MalformedError:
        return
    assert encode(value) == data


@given(values)
def test_what_is_encoded_is_decoded(value):
    try:
        data = encode(value)
    except MalformedError:
        return
    assert encode(decode(data, limit=len(data))) == data


@given(values)
def test_what_msgpack_writes_is_canonical_or_refused(value):
    data = msgpack.packb(value)
    try:
        read = decode(data, limit=len(data))
    except MalformedError:
        return
    assert encode(read) == data


@given(st.dictionaries(texts, values, max_size=8), st.sampled_from(CLASSES))
def test_an_arbitrary_map_is_a_document_or_refused(fields, cls):
    fields = {**fields, "type": cls.TYPE, "requires": []}
    try:
        data = encode(fields)
    except MalformedError:
        return
    made = read_as(cls, data)
    assert made is None or made.to_payload() == data


@settings(max_examples=300)
@given(documents, st.data())
def test_a_document_with_one_strange_field_is_refused_or_written_back(name, data):
    document = EXAMPLES[name]
    value = decode(document.to_payload(), limit=TYPES[document.TYPE])
    place, key = value, data.draw(st.sampled_from(sorted(value)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
    place[key] = data.draw(values)
    try:
        payload = encode(value)
    except MalformedError:
        return
    made = read_as(type(document), payload)
    assert made is None or made.to_payload() == payload


@given(documents, st.dictionaries(texts.filter(lambda t: t.startswith("x")), values, max_size=4))
def test_unknown_keys_survive_wherever_they_are(name, unknown):
    document = EXAMPLES[name]
    value = decode(document.to_payload(), limit=TYPES[document.TYPE])
    try:
        encode(unknown)
    except MalformedError:
        return
    for place in [value, *(v for k in ("files", "entries") for v in value.get(k, []))]:
        place |= unknown
    payload = encode(value)
    made = read_as(type(document), payload)
    assert made is None or made.to_payload() == payload
    assert made is not None or len(payload) > TYPES[document.TYPE] or nested_deep(unknown)


def nested_deep(value):
    """Whether `value` no longer fits when it stands a few levels down."""
    try:
        encode([[[[value]]]])
    except MalformedError:
        return True
    return False


@settings(max_examples=300)
@given(documents, st.data())
def test_one_changed_byte_fails_or_is_another_document(name, data):
    document = EXAMPLES[name]
    payload = bytearray(document.to_payload())
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    made = read_as(type(document), bytes(payload))
    if made is not None:
        assert made.digest != document.digest
        assert made.digest == sha256(bytes(payload))
        assert made != document


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_flipped_bit_fails_or_is_another_document(name):
    document = EXAMPLES[name]
    payload = document.to_payload()
    for place in range(len(payload)):
        for bit in (0, 3, 7):
            changed = bytearray(payload)
            changed[place] ^= 1 << bit
            made = read_as(type(document), bytes(changed))
            assert made is None or made.digest == sha256(bytes(changed)) != document.digest


@given(documents, st.integers(0, 2000))
def test_a_document_cut_short_or_run_on_is_refused(name, length):
    document = EXAMPLES[name]
    payload = document.to_payload()
    assert read_as(type(document), payload[: length % len(payload)]) is None
    assert read_as(type(document), payload + payload[:1]) is None


@given(documents, st.sampled_from(CLASSES))
def test_a_document_is_never_read_as_another_type(name, cls):
    document = EXAMPLES[name]
    if not isinstance(document, cls):
        assert read_as(cls, document.to_payload()) is None


@given(documents, st.lists(texts, min_size=1, max_size=3))
def test_a_requirement_we_do_not_know_is_always_refused(name, requirements):
    document = EXAMPLES[name]
    value = decode(document.to_payload(), limit=TYPES[document.TYPE])
    value["requires"] = requirements
    assert not set(requirements) & KNOWN_REQUIREMENTS
    assert read_as(type(document), encode(value)) is None


part = st.text(st.characters(), max_size=6) | st.sampled_from(["..", ".", "nul", "a", "A", ".git"])


@given(st.lists(st.lists(part, max_size=4).map(tuple), max_size=4))
def test_a_path_is_refused_or_stays_inside_its_folder(paths):
    good = []
    for path in paths:
        try:
            check_path(path)
        except UsageError as error:
            error.message.encode()
        else:
            assert path
            assert not {"", ".", ".."} & set(path)
            assert not any(set(part) & set("/\\:\0") for part in path)
            good.append(path)
    try:
        check_unique(good)
    except UsageError:
        return
    assert len({tuple(p.lower() for p in path) for path in good}) == len(good)


@given(st.text(max_size=60))
@example("p2p://@")
def test_typed_text_is_an_id_or_a_usage_error(text):
    for read in (Reference.parse, PublisherId.parse, ContentId.parse):
        try:
            made = read(text)
        except UsageError:
            continue
        assert str(made) == text.removeprefix("p2p://")
    with suppress(UsageError):
        assert "/".join(parse_path(text)) == normalize("NFC", text)


yaml_tokens = [*"abc:-[]{},\"'|>&*!%@#?\n\t \\~", "\ntags: ", "\nlicense: ", "\n- ", "null", "<<: "]
yaml_like = st.lists(st.sampled_from(yaml_tokens)).map("".join)


@settings(max_examples=300)
@given(yaml_like | st.text(), st.booleans())
@example('license: "\\ud800"', False)
@example("license: !!python/object/apply:os.system [ls]", False)
@example("? [a]\n: b", False)
def test_any_readme_has_a_card_that_can_be_signed(text, bare):
    card, warning = card_from_readme(text if bare else f"---\n{text}\n---\n")
    assert isinstance(warning, str)
    entry = FileEntry(("a",), 0, sha256(b""), ContentId(0, sha256(b"")))
    release = Release(
        publisher=bytes(32),
        name="x",
        kind="model",
        created=0,
        files=(entry,),
        total_size=0,
        card=card,
    )
    assert Release.from_payload(release.to_payload()).card == card


names = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
repo_sets = st.dictionaries(names, st.integers(1, 9), max_size=60)


@given(repo_sets, st.integers(0, 60))
def test_every_repo_is_found_in_the_tree_and_no_other(repos, tags):
    card = Card(tags=tuple(f"{n}-{'x' * 90}" for n in range(tags)))
    entries = [
        RepoEntry(name, "model", {"main": Ref(bytes(32), seq)}, card) for name, seq in repos.items()
    ]
    root, pages = build_pages(entries)
    assert build_pages(reversed(entries)) == (root, pages)
    assert all(sha256(page) == digest and len(page) <= MAX_PAGE for digest, page in pages.items())
    for name in [*repos, "absent!"]:
        found = find(root, pages, name)
        assert (found.refs["main"].seq if found else None) == repos.get(name)


def find(digest, pages, name):
    page = Page.from_payload(pages[digest])
    while isinstance(found := find_in_page(page, name), bytes):
        child = Page.from_payload(pages[found])
        page.check_child(found, child)
        page = child
    return found


def test_the_fuzz_knows_every_type_of_document():
    """Notices are fuzzed in test_notices.py, which says that it knows every type of them."""
    assert {cls.TYPE for cls in CLASSES} == set(TYPES) - set(NOTICES)
    assert issubclass(MalformedError, P2PHubError)
