"""What somebody is asked to sign, in plain words: nothing that matters is left out."""

from dataclasses import replace

import pytest

from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Lineage, Release
from p2phub.formats.notices import Revocation, RevokedFile, RevokedKey, RevokedRelease, Withdrawal
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.node.describing import FILES, describe, publisher_of, read_document
from p2phub.testing.publishers import FakePublisher, fake_file
from p2phub.trust.envelope import sign

ONE, TWO = b"1" * 32, b"2" * 32


def told(document):
    found = {}
    for line in describe(document):
        found.setdefault(line.label, []).append(line.text)
    return found


def test_a_root_tells_its_keys_and_who_can_recover_it():
    said = told(Root(2, ONE, KeySet((TWO,)), ONE, KeySet((ONE, TWO), 2)))
    assert said["root"] == [f"number 2, follows {ONE.hex()[:16]}"]
    assert said["root keys"] == [f"1 of 1: {TWO.hex()}"]
    assert said["recovery keys"] == [f"2 of 2: {ONE.hex()}, {TWO.hex()}"]
    assert told(Root(1, b"", KeySet((TWO,)), ONE))["recovery keys"] == [
        "none: nobody could recover it"
    ]


def test_a_delegation_tells_every_key_with_its_limits():
    keys = (ReleaseKey(ONE), ReleaseKey(TWO, ("demo",), 86400))
    said = told(Delegation(ONE, 3, keys, 2, 2))
    assert said["release key"] == [
        ONE.hex(),
        f"{TWO.hex()} (only demo; until 1970-01-02T00:00:00Z)",
    ]
    assert said["needed on a release"] == ["2 signatures"]
    assert said["revocations count"] == ["only by root 2 and later"]


def test_a_release_tells_its_files_its_size_and_what_came_before():
    lab = FakePublisher(1)
    first = lab.publish("demo", {"a.txt": b"hello"}).release
    second = lab.publish("demo", {"a.txt": b"hello", "b.txt": b"you"}, message="more").release
    said = told(Release.from_payload(second.payload))
    assert said["release of"] == ["model demo"]
    assert said["size"] == ["8 bytes in 2 files"]
    assert said["file"] == ["a.txt (5 bytes)", "b.txt (3 bytes)"]
    assert said["previous version"] == [commit_id(first.digest)[:16]]
    assert said["message"] == ["more"]
    assert told(Release.from_payload(first.payload))["previous version"] == [
        "none: it is the first"
    ]


def test_a_release_tells_what_it_was_made_from():
    plain = Release.from_payload(FakePublisher(1).publish("demo", {"a.txt": b"x"}).release.payload)
    made = (Lineage("adapter", ONE), Lineage("merge", upstream="org/other"))
    said = told(replace(plain, lineage=made))
    assert said["made from"] == [f"release {ONE.hex()} (adapter)", "org/other (merge)"]
    assert "made from" not in told(plain)


@pytest.mark.parametrize(("count", "lines"), [(FILES, FILES), (FILES + 1, FILES + 1)])
def test_of_many_files_the_first_are_named_and_the_rest_counted(count, lines):
    files = tuple(fake_file(f"{n:03}.txt", b"x").entry for n in range(count))
    release = Release(
        publisher=ONE, name="demo", kind="model", created=1, files=files, total_size=count
    )
    said = told(release)["file"]
    assert len(said) == lines
    assert (said[-1] == "and 1 more") == (count > FILES)


@pytest.mark.parametrize(
    ("revoked", "words"),
    [
        (RevokedKey(ONE), f"{ONE.hex()}: nothing that it signed from its first index on"),
        (RevokedKey(ONE, 7, TWO), "nothing that it signed after index 7"),
        (RevokedRelease(ONE), f"release {commit_id(ONE)}"),
        (RevokedFile(TWO), TWO.hex()),
    ],
)
def test_a_revocation_tells_what_and_why(revoked, words):
    said = told(Revocation(ONE, 1, revoked, 5, "it was stolen"))
    assert words in said["takes back"][0]
    assert said["because"] == ["it was stolen"]


def test_a_withdrawal_tells_what_and_why():
    said = told(Withdrawal(ONE, TWO, 5, "a mistake"))
    assert commit_id(TWO) in said["takes back its signature of"][0]
    assert said["because"] == ["a mistake"]


def test_a_root_is_of_whom_its_first_root_makes_it():
    first = Root(1, b"", KeySet((ONE,)), ONE)
    second = Root(2, first.digest, KeySet((TWO,)), ONE)
    assert publisher_of(first, None).digest == first.digest
    assert publisher_of(second, first.digest).digest == first.digest
    assert publisher_of(second, None) is None


def test_a_page_or_a_proof_is_nothing_that_people_sign():
    from p2phub.testing.notices import fork_proof

    lab = FakePublisher(1)
    one, two = lab.sign_index()[0], lab.sign_index(writer_seq=1)[0]
    assert read_document(fork_proof(lab, one, two)) is None
    assert read_document(sign(Root(1, b"", KeySet((ONE,)), ONE), [])) is not None
