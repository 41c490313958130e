"""A root that several people hold: files between machines that never meet, and nobody who could do
anything alone.
"""

import pytest

from p2phub.cli.main import main
from tests.cli.homes import error

NAMES = ("ann", "ben", "cem")


class Holder:
    """One holder's machine, with the words of the share in a file."""

    def __init__(self, name, home, folder):
        self.name, self.home = name, home
        self.file, self.phrase = folder / f"{name}.holder", folder / f"{name}.phrase"
        (self.made,) = home.run("holder", self.file, "--new-phrase-file", self.phrase)

    def sign(self, file, *holders, code=0):
        """Sign `file`, and check new roots by the files of `holders`."""
        words = [word for each in holders for word in ("--holder", each.file)]
        return self.home.run("sign", file, "--yes", "--phrase-file", self.phrase, *words, code=code)


def named(holders, option="--holder"):
    return [word for each in holders for word in (option, each.file)]


@pytest.fixture
def holder(homes, tmp_path):
    return lambda name: Holder(name, homes(name), tmp_path)


@pytest.fixture
def board(holder):
    return [holder(name) for name in NAMES]


@pytest.fixture
def lab(homes, board, tmp_path):
    """A publisher of which two of three holders have signed the first root, with a repo."""
    made, file = homes("lab"), tmp_path / "lab.p2phub"
    begin(made, board, file)
    for each in board[:2]:
        each.sign(file, *board)
    made.run("adopt", file)
    made.publish("demo")
    return made


def begin(home, board, file, *words):
    arguments = ["init", *named(board), "--prepare", file, *words]
    return main(["--home", str(home.folder), "--json", *map(str, arguments)])


def agreed(lab, signers, board, file, code=0):
    """What comes of it when `signers` have signed a file."""
    for each in signers:
        each.sign(file, *board)
    return lab.run("adopt", file, code=code)


def test_a_publisher_begins_when_two_of_three_have_signed_and_not_before(
    homes,
    board,
    tmp_path,
    capsys,
):
    lab, file = homes("lab"), tmp_path / "lab.p2phub"
    assert begin(lab, board, file, "--name", "lab") == 0
    assert not list(lab.folder.rglob("*phrase"))
    assert not (lab.folder / "keys/root.key").exists()
    nobody = error(lab.run("adopt", file, code=4))
    assert "root number 1" in nobody["message"]
    assert "needs 2 more" in nobody["message"]
    (root, delegation) = board[0].sign(file, *board)
    assert (root["type"], root["needed"], delegation["needed"]) == ("root", 1, 1)
    told = {line["label"]: line["text"] for line in root["says"]}
    assert told["holders"].startswith("2 of 3: ann (")
    assert told["next holders"] == told["holders"]
    assert board[1].made["fingerprint"] in told["holders"]
    assert "needs 1 more" in error(lab.run("adopt", file, code=4))["message"]
    assert lab.run("ls")[0]["publisher_id"] is None
    assert all(each["needed"] == 0 for each in board[2].sign(file, *board))
    (made,) = lab.run("adopt", file)
    assert (made["root_v"], made["delegation_version"]) == (1, 1)
    lab.publish("demo")
    assert lab.told() == {"demo@main": "verified"}
    (listed,) = lab.run("ls")
    assert (listed["root_threshold"], sum("root" in key["roles"] for key in listed["keys"])) == (
        2,
        3,
    )


def test_begun_twice_it_is_the_same_publisher(homes, board, tmp_path, capsys):
    lab, files = homes("lab"), [tmp_path / name for name in ("a.p2phub", "b.p2phub")]
    assert [begin(lab, board, file) for file in files] == [0, 0]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert begin(lab, board, files[0]) == 7, "a file is never overwritten"


def test_a_machine_that_is_a_publisher_does_not_become_another(lab, board, tmp_path):
    assert begin(lab, board, tmp_path / "again.p2phub") == 7


@pytest.mark.parametrize(
    "words",
    [
        ("--root-threshold", "4"),
        ("--root-threshold", "0"),
        ("--passphrase-file", "x"),
        ("--restore", "x"),
    ],
)
def test_options_that_mean_nothing_with_holders_make_nothing(homes, board, tmp_path, words):
    lab, file = homes("lab"), tmp_path / "lab.p2phub"
    assert begin(lab, board, file, *words) == 2
    assert not file.exists()
    assert not (lab.folder / "keys/release.key").exists()


def test_six_holders_are_one_too_many(homes, holder, tmp_path):
    many = [holder(f"h{n}") for n in range(6)]
    assert begin(homes("lab"), many, tmp_path / "lab.p2phub") == 2
    assert begin(homes("lab"), many[:5], tmp_path / "lab.p2phub") == 0


def test_without_prepare_the_root_is_not_asked_for(lab):
    for words in (("allow", "ab" * 32), ("rotate",), ("revoke", "--release", "demo", "--reason=x")):
        told = error(lab.root(*words, code=2, phrase=lab.folder / "none"))
        assert "2 of 3 holders" in told["message"]
        assert "--prepare" in told["remedy"]


PREPARED = {
    "allow": ("allow", "ab" * 32),
    "revoke a release": ("revoke", "--release", "demo", "--reason", "poisoned"),
    "revoke a file": ("revoke", "--file", "cd" * 32, "--reason", "poisoned"),
    "revoke a key": ("revoke", "--key", "{release}", "--reason", "stolen"),
    "remove a key": ("remove", "{release}"),
    "certify": ("certify-oms", "--alone", "--key", "{pem}"),
}


@pytest.mark.parametrize("name", PREPARED)
def test_every_act_of_the_root_waits_for_two_of_three(lab, board, homes, tmp_path, name):
    file, pem = tmp_path / "change.p2phub", tmp_path / "new.pem"
    other = homes("other")
    other.init()
    other.run("export-oms", pem)
    given = {"{release}": lab.key("release").public.hex(), "{pem}": str(pem)}
    before = lab.papers()
    (made,) = lab.run(*(given.get(word, word) for word in PREPARED[name]), "--prepare", file)
    assert (made["needed"], made["file"]) == (2, str(file))
    assert "needs 2 more" in error(lab.run("adopt", file, code=4))["message"]
    board[0].sign(file)
    board[0].sign(file, code=3)
    assert "needs 1 more" in error(lab.run("adopt", file, code=4))["message"]
    assert lab.papers().envelopes == before.envelopes
    assert lab.told() == {"demo@main": "verified"}
    (done,) = agreed(lab, board[2:], board, file)
    if name in ("revoke a release", "revoke a file"):
        assert done["notices"] == 1
        assert lab.told() == {"demo@main": "refused" if "release" in name else "verified"}
    else:
        assert done["delegation_version"] == 2


def test_holders_sign_copies_that_are_joined_at_the_end(lab, board, tmp_path):
    copies = [tmp_path / f"{each.name}.p2phub" for each in board]
    lab.run("allow", "ab" * 32, "--prepare", copies[0])
    for copy in copies[1:]:
        copy.write_bytes(copies[0].read_bytes())
    for each, copy in zip(board, copies, strict=True):
        each.sign(copy)
    lab.run("adopt", copies[0], code=4)
    assert lab.run("adopt", *copies)[0]["delegation_version"] == 2


def test_the_same_holders_go_on_with_one_new_root(lab, board, tmp_path):
    file = tmp_path / "next.p2phub"
    lab.run("rotate", *named(board), "--prepare", file)
    (done,) = agreed(lab, board[1:], board, file)
    assert (done["root_v"], done["delegation_version"]) == (2, 2)
    assert lab.told() == {"demo@main": "verified"}
    lab.run("allow", "ab" * 32, "--prepare", tmp_path / "allow.p2phub")
    assert agreed(lab, board[:2], board, tmp_path / "allow.p2phub")[0]["delegation_version"] == 3


def test_a_holder_gives_way_to_another_and_signs_no_more(lab, board, holder, tmp_path):
    dora, file = holder("dora"), tmp_path / "next.p2phub"
    new = [*board[:2], dora]
    lab.run("rotate", *named(new), *named(board, "--old-holder"), "--prepare", file)
    everybody = [*board, dora]
    board[0].sign(file, *everybody)
    board[2].sign(file, *everybody)  # it counts for the root that it was committed to
    assert "root number 3" in error(lab.run("adopt", file, code=4))["message"]
    dora.sign(file, *everybody)
    (done,) = lab.run("adopt", file)
    assert (done["root_v"], done["delegation_version"]) == (3, 2)
    lab.run("allow", "ab" * 32, "--prepare", tmp_path / "allow.p2phub")
    board[2].sign(tmp_path / "allow.p2phub", code=3)
    assert agreed(lab, [board[0], dora], new, tmp_path / "allow.p2phub")[0]["root_v"] == 3


def test_another_threshold_holds_at_once(lab, board, tmp_path):
    file = tmp_path / "next.p2phub"
    lab.run("rotate", *named(board), "--root-threshold", "3", "--prepare", file)
    for each in board[:2]:
        each.sign(file, *board)
    assert "root number 3" in error(lab.run("adopt", file, code=4))["message"]
    assert agreed(lab, board[2:], board, file)[0]["root_v"] == 3
    assert lab.run("ls")[0]["root_threshold"] == 3


def test_one_owner_gives_the_root_to_several_and_keeps_nothing_of_it(homes, board, tmp_path):
    lab, file = homes("one"), tmp_path / "next.p2phub"
    lab.init()
    lab.publish("demo")
    lab.root("rotate", *named(board), "--prepare", file)
    assert "root number 3" in error(lab.run("adopt", file, code=4))["message"]
    (done,) = agreed(lab, board[:2], board, file)
    assert (done["root_v"], done["delegation_version"]) == (3, 2)
    assert lab.told() == {"demo@main": "verified"}
    lab.root("allow", "ab" * 32, code=2)
    lab.run("allow", "ab" * 32, "--prepare", tmp_path / "allow.p2phub")
    again = (tmp_path / "allow.p2phub").read_bytes()
    lab.run("sign", tmp_path / "allow.p2phub", "--yes", "--phrase-file", lab.phrase, code=3)
    assert (tmp_path / "allow.p2phub").read_bytes() == again


def test_several_give_the_root_to_one_who_needs_nobody_then(lab, board, holder, tmp_path):
    owner, file = holder("owner"), tmp_path / "next.p2phub"
    lab.run("rotate", *named([owner]), *named(board, "--old-holder"), "--prepare", file)
    agreed(lab, [*board[:2], owner], [*board, owner], file)
    (done,) = lab.root("allow", "ab" * 32, phrase=owner.phrase)
    assert (done["root_v"], done["delegation_version"]) == (3, 3)
    lab.root("rotate", phrase=owner.phrase)
    assert lab.papers().identity.root.v == 4


def test_a_root_that_commits_to_a_strangers_keys_is_signed_by_no_holder(
    lab, board, holder, tmp_path
):
    """Whoever prepares the file could take the publisher with the root after it."""
    eve, file = holder("eve"), tmp_path / "next.p2phub"
    lab.run("rotate", *named([eve]), *named(board, "--old-holder"), "--prepare", file)
    before = file.read_bytes()
    for known in (board, []):
        told = error(board[0].sign(file, *known, code=7))
        assert "nothing here tells whose" in told["message"]
        assert "--holder" in told["remedy"]
    assert file.read_bytes() == before


def test_after_a_share_was_stolen_the_honest_revocations_are_signed_again(lab, board, tmp_path):
    files = [tmp_path / name for name in ("revoke.p2phub", "next.p2phub")]
    lab.run("revoke", "--release", "demo", "--reason", "poisoned", "--prepare", files[0])
    agreed(lab, board[:2], board, files[0])
    words = ("--stolen", "--keep", "all", "--prepare", files[1])
    lab.run("rotate", *named(board), *words)
    (done,) = agreed(lab, board[:2], board, files[1])
    assert (done["root_v"], done["notices"]) == (2, 1)
    assert lab.papers().identity.delegation.revocations_from == 2
    assert lab.told() == {"demo@main": "refused"}


def test_a_share_whose_name_cannot_be_shown_is_never_made(homes, tmp_path):
    phrase = tmp_path / "phrase"
    for name in ("x" * 97, "a\nb"):
        words = ("holder", tmp_path / f"{name}.holder", "--new-phrase-file", phrase)
        homes("ann").run(*words, code=2)
    assert not phrase.exists()
    homes("ann").run("holder", tmp_path / ("x" * 96 + ".holder"), "--new-phrase-file", phrase)


def test_files_of_others_do_not_rotate_what_they_never_held(lab, holder, tmp_path):
    eves, file = [holder(f"eve{n}") for n in range(3)], tmp_path / "next.p2phub"
    told = error(
        lab.run("rotate", *named(eves), *named(eves, "--old-holder"), "--prepare", file, code=2)
    )
    assert "not the holders that root 1 committed to" in told["message"]
    assert not file.exists()


def test_a_share_is_kept_here_behind_its_passphrase_and_signs_with_it(
    homes,
    board,
    lab,
    tmp_path,
):
    secret, home = tmp_path / "passphrase", homes("desk")
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    words = ("--phrase-file", board[0].phrase, "--passphrase-file", secret)
    (made,) = home.run("holder", tmp_path / "again.holder", *words, "--name", "lab-share")
    assert made["kept"]
    assert made["fingerprint"] == board[0].made["fingerprint"]
    (again,) = home.run(
        "holder", tmp_path / "b.holder", "--name", "lab-share", "--passphrase-file", secret
    )
    assert again["fingerprint"] == made["fingerprint"]
    file = tmp_path / "allow.p2phub"
    lab.run("allow", "ab" * 32, "--prepare", file)
    (told,) = home.run("sign", file, "--yes", "--passphrase-file", secret)
    assert (told["needed"], len(told["signed_now"])) == (1, 1)
    assert agreed(lab, board[1:2], board, file)[0]["delegation_version"] == 2


def test_in_a_pipe_a_new_share_needs_a_file_for_its_words(homes, tmp_path):
    homes("ann").run("holder", tmp_path / "ann.holder", code=7)
    assert not (tmp_path / "ann.holder").exists()


@pytest.mark.parametrize("name", ["root", "node", "oms", "release", "release-2"])
def test_a_share_takes_no_name_that_means_another_key(homes, tmp_path, name):
    words = ("--name", name, "--new-phrase-file", tmp_path / "phrase")
    homes("ann").run("holder", tmp_path / "ann.holder", *words, code=2)


def test_a_shared_root_is_recovered_by_the_recovery_keys(homes, board, tmp_path):
    helper, lab, file = homes("helper"), homes("lab"), tmp_path / "lab.p2phub"
    key = helper.run("new", "recovery")[0]["key"]
    begin(lab, board, file, "--recovery", key)
    agreed(lab, board[:2], board, file)
    lab.publish("demo")
    new, phrase = tmp_path / "new.p2phub", tmp_path / "new.phrase"
    lab.run("recover", "--prepare", new, "--new-phrase-file", phrase)
    helper.run("sign", new, "--yes")
    (done,) = lab.root("recover", "--finish", new, phrase=phrase)
    assert (done["root_v"], lab.told()) == (2, {"demo@main": "verified"})


def test_a_backup_of_a_shared_root_is_opened_by_the_holder_who_made_it(lab, board, homes, tmp_path):
    backup, other = tmp_path / "backup.json", homes("other")
    lab.root("backup", "--file", backup, phrase=board[0].phrase)
    words = ("--restore", backup, "--phrase-file")
    main(["--home", str(other.folder), "init", *map(str, words), str(board[1].phrase)])
    assert not (other.folder / "keys/release.key").exists()
    assert other.init(*words, board[0].phrase) == str(lab.papers().publisher)
    assert other.key("release").public == lab.key("release").public
    other.run("allow", "ab" * 32, code=2)
