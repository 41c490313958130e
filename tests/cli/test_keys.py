"""`p2phub key` as its owner, a helper and a thief meet it: homes of their own, and nothing between
them but files.
"""

import json

import pytest

from p2phub.cli.identity import keep_of
from p2phub.cli.keys.revoke import SHOWN
from p2phub.cli.main import main
from p2phub.errors import UntrustedError, UsageError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.parcel import Parcel
from p2phub.node.changing import MIN_PREFIX
from p2phub.node.desk import own_papers
from p2phub.testing.identities import unlisted_release
from p2phub.trust.envelope import sign
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes, packed
from p2phub.trust.secrets import Master
from tests.cli.homes import error

PASSPHRASE = "correct horse battery"


@pytest.fixture
def owner(homes):
    made = homes("owner")
    made.init()
    return made


# ---------------------------------------------------------------- release keys


def test_a_second_machine_is_let_in_by_file_and_may_only_do_what_it_may(owner, homes, tmp_path):
    owner.publish("demo")
    second = homes("second")
    (made,) = second.run("new", "release")
    owner.root("allow", made["key"], "--repos", "demo,other", "--expires", "90d")
    owner.run("export", tmp_path / "papers.p2phub")
    (joined,) = second.run("adopt", tmp_path / "papers.p2phub")
    assert joined["release_key"] == made["key"]
    assert second.papers().publisher == owner.papers().publisher
    known = second.papers().identity.release_key(bytes.fromhex(made["key"]))
    assert known.repos == ("demo", "other")
    assert known.not_after > 0


def test_a_stranger_cannot_adopt_what_does_not_name_its_key(owner, homes, tmp_path):
    owner.publish("demo")
    owner.run("export", tmp_path / "papers.p2phub")
    stranger = homes("stranger")
    stranger.run("new", "release")
    assert error(stranger.run("adopt", tmp_path / "papers.p2phub", code=3))["code"] == "not_found"


def test_limits_that_mean_nothing_are_refused(owner):
    key = "ab" * 32
    for words in (
        ("allow", key[:-1]),
        ("allow", "zz" * 32),
        ("allow", key, "--expires", "soon"),
        ("allow", key, "--expires", "2001-01-01"),
        ("allow", key, "--threshold", "3"),
        ("allow", key, "--repos", "../up"),
    ):
        owner.root(*words, code=2)
    assert owner.papers().identity.delegation.version == 1


def test_a_wrong_phrase_changes_nothing_and_is_not_repeated(owner, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(Master(bytes(32)).phrase())
    for words in (("allow", "ab" * 32), ("rotate",), ("remove", "ab" * 4)):
        answer = owner.root(*words, code=2, phrase=wrong)
        assert "abandon" not in json.dumps(answer) + owner.err
    assert owner.papers().identity.delegation.version == 1


def test_removing_the_key_of_this_machine_makes_another_and_signs_again(owner):
    owner.publish("demo")
    old = owner.key("release").public.hex()
    (made,) = owner.root("remove", old[:8])
    assert made["signed_again"] == 1
    assert made["release_key"] == owner.key("release-2").public.hex() != old
    assert owner.told() == {"demo@main": "verified"}
    assert owner.publish("more")
    assert owner.told() == {"demo@main": "verified", "more@main": "verified"}


def test_a_prefix_that_names_no_key_or_too_little_is_refused(owner):
    owner.root("remove", owner.key("release").public.hex()[:7], code=2)
    owner.root("remove", "0" * 8, code=3)


# ---------------------------------------------------------------- revocation


def test_a_stolen_release_key_is_out_after_one_root_action(owner, homes, tmp_path):
    good = owner.publish("demo", b"good")
    stolen = owner.key("release")
    owner.publish("demo", b"evil")
    (made,) = owner.root(
        "revoke", "--key", stolen.public.hex()[:16], "--reason", "laptop stolen", "--last-good", "1"
    )
    assert (made["notices"], made["dropped"]) == (1, ["demo@main"])
    assert owner.told() == {"demo@main": "verified"}
    with owner.desk() as desk:
        state = desk.knowledge.state(owner_id(desk))
        (entry,) = desk.knowledge.entries(owner_id(desk))
        assert entry.refs["main"].release.hex() == good
        thief = state.identity
        assert thief.release_key(stolen.public) is None


def owner_id(desk):
    return own_papers(desk.store.documents).publisher


def test_after_it_the_thief_gets_nothing_accepted_and_a_stranger_knows_why(owner):
    owner.publish("demo", b"good")
    stolen, papers = owner.key("release"), owner.papers()
    owner.root("revoke", "--key", stolen.public.hex()[:16], "--reason", "stolen")
    with owner.desk() as desk:
        evil = sign(papers.head(bytes(32), 99, 0), [stolen])
        with pytest.raises(UntrustedError, match="was revoked after seq 1"):
            desk.knowledge.learn_head(papers.publisher, evil.pack())
    assert owner.told() == {"demo@main": "verified"}


def test_the_last_good_commit_may_be_named(owner):
    good = owner.publish("demo", b"good")
    owner.publish("evil", b"evil")
    key = owner.key("release").public.hex()
    (made,) = owner.root("revoke", "--key", key, "--reason", "stolen", "--last-good", good[:12])
    assert made["dropped"] == ["evil@main"]
    assert owner.told() == {"demo@main": "verified"}


@pytest.mark.parametrize("over", [0, 1])
def test_of_the_repos_that_stay_good_so_many_are_named(owner, capsys, over):
    names = [f"repo-{number}" for number in range(SHOWN + over)]
    for name in names:
        owner.publish(name)
    key = owner.key("release").public.hex()
    words = ["key", "revoke", "--key", key, "--reason", "stolen", "--phrase-file", owner.phrase]
    assert main(["--home", str(owner.folder), *map(str, words)]) == 0
    said = f"counts as good: {', '.join(names[:SHOWN])}{' and 1 more' if over else ''}. "
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("last_good", "code"), [("0", 3), ("x", 2), ("a" * 41, 2), ("deadbeef", 3), ("1", 0), ("9", 0)]
)
def test_a_last_good_index_that_is_not_here_is_refused(owner, last_good, code):
    owner.publish("demo")
    key = owner.key("release").public.hex()
    owner.root("revoke", "--key", key, "--reason", "x", "--last-good", last_good, code=code)
    assert owner.papers().identity.delegation.version == (2 if code == 0 else 1)


def test_nothing_of_a_key_is_good(owner):
    owner.publish("demo")
    key = owner.key("release").public.hex()
    (made,) = owner.root("revoke", "--key", key, "--reason", "x", "--last-good", "none")
    assert made["dropped"] == ["demo@main"]
    assert owner.told() == {}


def test_a_release_is_revoked_by_the_root(owner):
    digest = owner.publish("demo")
    (made,) = owner.root("revoke", "--release", digest, "--reason", "poisoned")
    assert made["notices"] == 1
    assert owner.told() == {"demo@main": "refused"}


def test_a_file_is_revoked_and_every_release_that_has_it(owner):
    owner.publish("demo", b"evil")
    owner.publish("other", b"fine")
    owner.root("revoke", "--file", sha256(b"evil").hex(), "--reason", "malware")
    assert owner.told() == {"demo@main": "refused", "other@main": "verified"}


def test_without_the_root_a_release_is_withdrawn_and_that_is_said(owner):
    digest = owner.publish("demo")
    (made,) = owner.run("revoke", "--release", digest, "--reason", "wrong licence")
    assert made["notices"] == 1
    assert owner.told() == {"demo@main": "refused"}
    with owner.desk() as desk:
        (notice,) = desk.knowledge.notices(owner_id(desk))
    assert b"withdrawal" in notice


@pytest.mark.parametrize(
    "words",
    [
        ("--release", "ab" * 32, "--last-good", "1"),
        ("--key", "ab" * 32, "--withdraw"),
        ("--file", "abc"),
        ("--file", "ab" * 32, "--key", "ab" * 32),
        (),
    ],
)
def test_a_revocation_that_makes_no_sense_is_refused(owner, words):
    owner.root("revoke", *words, "--reason", "x", code=2)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("", 2), ("x" * limits.MAX_REASON, 0), ("x" * (limits.MAX_REASON + 1), 2), ("a\nb", 2)],
)
def test_a_reason_has_a_length(owner, reason, code):
    digest = owner.publish("demo")
    owner.root("revoke", "--release", digest, "--reason", reason, code=code)


@pytest.mark.parametrize("word", ["a" * MIN_PREFIX, "A" * 64, "all", "none"])
def test_what_is_kept_is_named_by_so_many_digits(word):
    kept = keep_of([word])
    assert kept.prefixes == (() if word in ("all", "none") else (word.lower(),))


@pytest.mark.parametrize("word", ["a" * (MIN_PREFIX - 1), "x" * MIN_PREFIX, ""])
def test_what_is_kept_is_not_named_by_fewer_digits_or_none(word):
    with pytest.raises(UsageError, match="neither a key nor a notice"):
        keep_of([word])


# ---------------------------------------------------------------- rotation


def test_two_rotations_are_followed_from_the_first_papers_on(owner, tmp_path):
    owner.publish("demo")
    first = owner.papers()
    owner.root("rotate")
    owner.root("rotate")
    owner.run("export", tmp_path / "papers.p2phub")
    found = find_papers(envelopes(Parcel.from_bytes((tmp_path / "papers.p2phub").read_bytes())))
    assert [link.how for link in found.identity.chain] == ["first", "rotation", "rotation"]
    assert found.identity.chain[0] == first.identity.chain[0]
    assert owner.told() == {"demo@main": "verified"}


def test_a_new_phrase_makes_the_newest_root_alone_and_the_old_one_nothing(owner, tmp_path):
    owner.publish("demo")
    new = tmp_path / "new.phrase"
    (made,) = owner.root("rotate", "--new-phrase", "--new-phrase-file", new)
    assert made["root_v"] == 3
    owner.root("allow", "ab" * 32, code=2)
    owner.root("allow", "ab" * 32, phrase=new)
    owner.root("rotate", phrase=new)
    assert owner.told() == {"demo@main": "verified"}
    assert json.loads((tmp_path / made["backup"]).read_text())["version"] == 2


def test_a_locked_root_goes_on_with_its_passphrase_after_a_new_phrase(homes, tmp_path):
    owner, passphrase = homes("locked"), tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(PASSPHRASE)
    owner.init("--passphrase-file", passphrase)
    new = tmp_path / "new.phrase"
    words = ("--new-phrase", "--new-phrase-file", new, "--passphrase-file", passphrase)
    owner.run("rotate", *words)
    owner.run("allow", "ab" * 32, "--passphrase-file", passphrase)
    owner.run("rotate", "--passphrase-file", passphrase)
    assert owner.papers().identity.root.v == 4


def test_recovery_keys_are_named_changed_and_taken_away(owner):
    keys = [f"{n:02x}" * 32 for n in range(1, 7)]
    owner.root("rotate", *[word for key in keys[:3] for word in ("--recovery", key)])
    assert owner.papers().identity.root.recovery.threshold == 2
    owner.root("rotate")
    assert len(owner.papers().identity.root.recovery.keys) == 3
    owner.root("rotate", "--recovery-threshold", "3")
    assert owner.papers().identity.root.recovery.threshold == 3
    owner.root("rotate", *[word for key in keys for word in ("--recovery", key)], code=2)
    owner.root("rotate", "--no-recovery", "--recovery", keys[0], code=2)
    owner.root("rotate", "--no-recovery")
    assert owner.papers().identity.root.recovery is None


def test_after_a_theft_what_the_old_root_signed_needs_a_word(owner, homes, tmp_path):
    digest = owner.publish("demo")
    owner.publish("other")
    owner.root("allow", "ab" * 32)
    owner.root("allow", "cd" * 32)
    owner.root("revoke", "--release", digest, "--reason", "poisoned")
    new = tmp_path / "new.phrase"
    words = ("rotate", "--stolen", "--new-phrase-file", new)
    said = error(owner.root(*words, code=2))["message"]
    assert "abababab" in said
    assert "poisoned" in said
    assert not new.exists()
    revocation = said.partition("revocation ")[2][:16]
    owner.root(*words, "--keep", "abababab", "--keep", revocation)
    identity = owner.papers().identity
    assert identity.delegation.revocations_from == 3
    assert identity.release_key(bytes.fromhex("ab" * 32))
    assert identity.release_key(bytes.fromhex("cd" * 32)) is None
    assert owner.told() == {"demo@main": "refused", "other@main": "verified"}


def test_after_a_theft_the_revocations_of_the_thief_do_not_count(owner, tmp_path):
    digest = owner.publish("demo")
    owner.root("revoke", "--release", digest, "--reason", "the thief was here")
    assert owner.told() == {"demo@main": "refused"}
    new = tmp_path / "new.phrase"
    owner.root("rotate", "--stolen", "--keep", "none", "--new-phrase-file", new)
    assert owner.told() == {"demo@main": "verified"}


# ---------------------------------------------------------------- recovery


@pytest.fixture
def recoverable(homes, tmp_path):
    """An owner whose root two of three helpers can recover, and the helpers."""
    helpers = [homes(f"helper{n}") for n in range(3)]
    keys = [helper.run("new", "recovery")[0]["key"] for helper in helpers]
    owner = homes("owner")
    owner.init(*[word for key in keys for word in ("--recovery", key)])
    owner.publish("demo")
    owner.run("export", tmp_path / "public.p2phub")
    return owner, helpers


def test_a_lost_root_is_recovered_by_two_of_three_on_a_machine_that_never_had_it(
    recoverable, homes, tmp_path
):
    owner, helpers = recoverable
    file, phrase, heir = tmp_path / "recovery.p2phub", tmp_path / "new.phrase", homes("heir")
    public = tmp_path / "public.p2phub"
    (made,) = heir.run("recover", "--prepare", file, public, "--new-phrase-file", phrase)
    assert (made["root_v"], made["needed"], len(made["helpers"])) == (2, 2, 3)
    (one,) = helpers[0].run("sign", file, "--yes")
    assert (one["type"], one["needed"], len(one["signed_now"])) == ("root", 1, 1)
    few = error(heir.root("recover", "--finish", file, code=4, phrase=phrase))
    assert "1 of 2" in few["message"]
    (two,) = helpers[2].run("sign", file, "--yes")
    assert two["needed"] == 0
    (done,) = heir.root("recover", "--finish", file, phrase=phrase)
    assert (done["root_v"], done["publisher_id"]) == (2, str(owner.papers().publisher))
    assert heir.papers().identity.chain[-1].how == "recovery"
    heir.root("allow", "ab" * 32, phrase=phrase)
    assert heir.papers().identity.release_key(owner.key("release").public)


def test_helpers_may_sign_copies_that_are_joined_at_the_end(recoverable, homes, tmp_path):
    _, helpers = recoverable
    file, phrase, heir = tmp_path / "recovery.p2phub", tmp_path / "new.phrase", homes("heir")
    heir.run("recover", "--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase)
    copies = [tmp_path / f"copy{n}.p2phub" for n in range(2)]
    for copy, helper in zip(copies, helpers, strict=False):
        copy.write_bytes(file.read_bytes())
        helper.run("sign", copy, "--yes")
    heir.root("recover", "--finish", copies[0], code=4, phrase=phrase)
    (done,) = heir.root("recover", "--finish", *copies, phrase=phrase)
    assert done["root_v"] == 2


def test_a_thief_with_the_next_keys_loses_to_recovery(recoverable, homes, tmp_path):
    owner, helpers = recoverable
    honest = owner.papers()
    owner.root("rotate", "--no-recovery")
    owner.run("export", tmp_path / "stolen.p2phub")
    file, phrase, heir = tmp_path / "recovery.p2phub", tmp_path / "new.phrase", homes("heir")
    words = ("recover", "--prepare", file, tmp_path / "stolen.p2phub", "--new-phrase-file", phrase)
    heir.run(*words, code=7)
    heir.run(*words, "--after", "1")
    for helper in helpers[:2]:
        helper.run("sign", file, "--yes")
    finish = ("recover", "--finish", file, "--stolen")
    heir.root(*finish, code=2, phrase=phrase)
    heir.root(*finish, "--keep", owner.key("release").public.hex()[:16], phrase=phrase)
    heir.run("export", tmp_path / "back.p2phub")
    both = [
        each
        for name in ("stolen", "back")
        for each in envelopes(Parcel.from_bytes((tmp_path / f"{name}.p2phub").read_bytes()))
    ]
    found = find_papers(both)
    assert found.identity.chain[-1].how == "recovery"
    assert found.publisher == honest.publisher
    (adopted,) = owner.run("adopt", tmp_path / "back.p2phub")
    assert adopted["root_v"] == 2
    assert owner.told() == {"demo@main": "verified"}


def test_nobody_finishes_with_another_phrase(recoverable, homes, tmp_path):
    owner, helpers = recoverable
    file, phrase, heir = tmp_path / "recovery.p2phub", tmp_path / "new.phrase", homes("heir")
    heir.run("recover", "--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase)
    for helper in helpers[:2]:
        helper.run("sign", file, "--yes")
    heir.root("recover", "--finish", file, code=2, phrase=owner.phrase)


def test_a_publisher_without_recovery_keys_cannot_be_recovered(owner, homes, tmp_path):
    owner.publish("demo")
    owner.run("export", tmp_path / "public.p2phub")
    phrase = tmp_path / "new.phrase"
    homes("heir").run(
        "recover",
        "--prepare",
        tmp_path / "x.p2phub",
        tmp_path / "public.p2phub",
        "--new-phrase-file",
        phrase,
        code=7,
    )
    assert not phrase.exists()


# ---------------------------------------------------------------- signing


def test_in_a_pipe_nothing_is_signed_without_a_yes(recoverable, homes, tmp_path):
    _, helpers = recoverable
    file, phrase = tmp_path / "recovery.p2phub", tmp_path / "new.phrase"
    homes("heir").run(
        "recover", "--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase
    )
    before = file.read_bytes()
    assert error(helpers[0].run("sign", file, code=7))["code"] == "refused"
    assert file.read_bytes() == before


def test_a_key_that_does_not_count_signs_nothing(recoverable, homes, tmp_path):
    owner, _ = recoverable
    file, phrase = tmp_path / "recovery.p2phub", tmp_path / "new.phrase"
    homes("heir").run(
        "recover", "--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase
    )
    before = file.read_bytes()
    owner.run("sign", file, "--yes", code=3)
    stranger = homes("stranger")
    stranger.run("new", "recovery")
    stranger.run("sign", file, "--yes", code=3)
    assert file.read_bytes() == before


def test_what_is_complete_needs_nobody(owner, tmp_path):
    owner.publish("demo")
    owner.run("export", tmp_path / "public.p2phub")
    owner.run("sign", tmp_path / "public.p2phub", "--yes", code=2)


def test_a_file_that_is_no_parcel_is_refused(owner, tmp_path):
    junk = tmp_path / "junk.p2phub"
    junk.write_bytes(b"junk")
    for verb in ("adopt", "sign"):
        words = (verb, junk, "--yes") if verb == "sign" else (verb, junk)
        assert error(owner.run(*words, code=4))["code"] == "malformed"
        missing = tmp_path / "missing"
        owner.run(verb, missing, *words[2:], code=3)


def test_a_release_of_two_is_signed_by_the_second_with_the_papers_in_the_file(
    owner, homes, tmp_path
):
    second = homes("second")
    (made,) = second.run("new", "release")
    owner.root("allow", made["key"], "--threshold", "2")
    papers = owner.papers()
    with owner.desk() as desk:
        release = unlisted_release(desk, papers.publisher, "demo", b"hello", owner.key("release"))
    file = tmp_path / "release.p2phub"
    file.write_bytes(packed([*papers.envelopes, release]).to_bytes())
    (told,) = second.run("sign", file, "--yes")
    assert (told["type"], told["needed"]) == ("release", 0)
    said = {line["label"]: line["text"] for line in told["says"]}
    assert said["release of"] == "model demo"
    assert said["size"] == "5 bytes in 1 files"
    (found,) = envelopes(Parcel.from_bytes(file.read_bytes()), "release")
    assert len(found.signed_by()) == 2


def test_a_locked_recovery_key_signs_with_its_passphrase(homes, tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(PASSPHRASE)
    helper, owner, heir = homes("helper"), homes("owner"), homes("heir")
    (made,) = helper.run("new", "recovery", "--passphrase-file", passphrase)
    owner.init("--recovery", made["key"])
    owner.run("export", tmp_path / "public.p2phub")
    file, phrase = tmp_path / "recovery.p2phub", tmp_path / "new.phrase"
    heir.run("recover", "--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase)
    helper.run("sign", file, "--yes", code=3)
    (told,) = helper.run("sign", file, "--yes", "--passphrase-file", passphrase)
    assert told["needed"] == 0
