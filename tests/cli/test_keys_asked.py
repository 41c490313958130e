"""`p2phub key` with a person at a terminal, and beside a node that runs."""

import os
import re
import sys
from base64 import b64decode

import pytest

from p2phub.cli.commands.key import VERBS
from p2phub.cli.identity import moment_of, public_key
from p2phub.errors import UsageError
from p2phub.formats.parcel import Parcel
from p2phub.node.desk import open_desk, own_papers
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.identities import publish_here
from p2phub.testing.terminals import Terminal
from p2phub.trust.holders import Holder, read_holder
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes
from p2phub.trust.secrets import Master
from tests.scenarios.nodes import settings

KEY = "ab" * 32


@pytest.fixture
def person(home):
    """Starts commands on a terminal."""
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}

    def start(*words):
        program = [sys.executable, "-m", "p2phub", "--home", home, *map(str, words)]
        return Terminal(program, environ)

    return start


def phrase_of(home):
    return home / "p2phub-backup.json.phrase"


def papers(home):
    with open_desk(settings(), home, read_only=True) as desk:
        return own_papers(desk.store.documents)


def words_on(screen):
    return " ".join(re.findall(r"\d+\. ([a-z]+)", screen))


# ---------------------------------------------------------------- a person


@pytest.fixture
def prepared(cli, home, tmp_path):
    """A recovery that one helper, this very home, is asked to sign."""
    helper = cli("--json", "key", "new", "recovery").objects[0]["key"]
    owner = tmp_path / "owner"
    assert cli("--home", owner, "init", "--recovery", helper).code == 0
    assert cli("--home", owner, "key", "export", tmp_path / "public.p2phub").code == 0
    file, phrase = tmp_path / "recovery.p2phub", tmp_path / "new.phrase"
    words = ("--prepare", file, tmp_path / "public.p2phub", "--new-phrase-file", phrase)
    assert cli("--home", tmp_path / "heir", "key", "recover", *words).code == 0
    return file


def signatures(file):
    found = envelopes(Parcel.from_bytes(file.read_bytes()), "root")
    return sorted(len(each.signed_by()) for each in found)


def test_a_helper_sees_what_is_signed_and_says_no(person, prepared):
    sign = person("key", "sign", prepared)
    sign.type("Sign this?", "no")
    assert sign.end() == 7
    assert "root: number 2, follows" in sign.screen
    assert "recovery keys: 1 of 1" in sign.screen
    assert signatures(prepared) == [0, 1]


def test_a_helper_says_yes(person, prepared):
    sign = person("key", "sign", prepared)
    sign.type("Sign this?", "yes")
    assert sign.end() == 0
    assert "it is complete" in sign.screen
    assert signatures(prepared) == [1, 1]


def test_a_new_phrase_is_shown_once_and_must_be_written_down(cli, person, home):
    cli("init")
    rotate = person("key", "rotate", "--new-phrase", "--phrase-file", phrase_of(home))
    rotate.type("Did you write all of them down?", "no")
    assert rotate.end() == 2
    assert papers(home).identity.root.v == 1
    rotate = person("key", "rotate", "--new-phrase", "--phrase-file", phrase_of(home))
    rotate.type("Did you write all of them down?", "yes")
    assert rotate.end() == 0
    found = papers(home).identity.root
    master = Master.from_phrase(words_on(rotate.screen))
    assert found.keys.keys == (master.root_key(found.v).public,)


def test_after_a_theft_a_person_is_asked_for_each_key(cli, person, home, tmp_path):
    cli("init")
    for key in (KEY, "cd" * 32):
        assert cli("key", "allow", key, "--phrase-file", phrase_of(home)).code == 0
    words = ("--stolen", "--new-phrase-file", tmp_path / "new", "--phrase-file", phrase_of(home))
    rotate = person("key", "rotate", *words)
    rotate.type("Keep release key abababab", "yes")
    rotate.type("Keep release key cdcdcdcd", "no")
    assert rotate.end() == 0, rotate.screen
    identity = papers(home).identity
    assert identity.release_key(bytes.fromhex(KEY)) is not None
    assert identity.release_key(bytes.fromhex("cd" * 32)) is None
    assert identity.delegation.revocations_from == identity.root.v


def test_a_person_is_asked_whether_the_newest_index_is_from_before_the_theft(cli, person, home):
    cli("init")
    with open_desk(settings(), home) as desk:
        publish_here(desk, "demo")
    key = SigningKey(Keyring(Layout.of(home)).load("release")).public.hex()
    words = ("key", "revoke", "--key", key, "--reason", "stolen", "--phrase-file", phrase_of(home))
    revoke = person(*words)
    revoke.type("before the theft?", "no")
    assert revoke.end() == 7
    assert "up to index 1 of" in revoke.screen
    assert papers(home).identity.delegation.version == 1
    revoke = person(*words)
    revoke.type("before the theft?", "yes")
    assert revoke.end() == 0
    assert papers(home).identity.release_key(bytes.fromhex(key)) is None


def test_without_a_root_here_a_person_is_asked_for_the_phrase(cli, person, home):
    cli("init")
    allow = person("key", "allow", KEY)
    allow.type("Recovery phrase, 24 words:", phrase_of(home).read_text().strip())
    assert allow.end() == 0
    assert phrase_of(home).read_text().strip() not in allow.screen
    assert papers(home).identity.release_key(bytes.fromhex(KEY))


def test_without_a_terminal_the_phrase_is_refused_and_nothing_changes(cli, home):
    cli("init")
    result = cli("key", "allow", KEY)
    assert result.code == 7
    assert "--phrase-file" in result.err
    assert papers(home).identity.delegation.version == 1


def test_a_key_may_be_made_with_a_passphrase_that_is_asked_for(person, home):
    new = person("key", "new", "recovery", "--lock")
    new.type("New passphrase", "correct horse battery")
    new.type("again", "correct horse battery")
    assert new.end() == 0
    assert Keyring(Layout.of(home)).is_locked("recovery")


def test_the_words_of_a_share_are_shown_once_and_it_is_locked_if_a_passphrase_is_typed(
    person, home, tmp_path
):
    file = tmp_path / "ann.holder"
    no = person("key", "holder", file)
    no.type("Did you write all of them down?", "no")
    assert no.end() == 2
    assert not file.exists()
    yes = person("key", "holder", file)
    yes.type("Did you write all of them down?", "yes")
    yes.type("New passphrase for the share", "correct horse battery")
    yes.type("again", "correct horse battery")
    assert yes.end() == 0, yes.screen
    holder, words = read_holder(file.read_text()), words_on(yes.screen)
    assert holder == Holder.of("ann", Master.from_phrase(words))
    assert holder.fingerprint in yes.screen
    assert Keyring(Layout.of(home)).is_locked("holder")
    assert words not in file.read_text()


# ---------------------------------------------------------------- a node that runs


def test_a_node_that_runs_is_handed_public_documents_and_no_secret(cli, home, node):
    assert cli("init").code == 0
    before = papers(home)
    result = cli("--json", "key", "allow", KEY, "--phrase-file", phrase_of(home))
    assert result.code == 0, result.err
    assert result.objects[0]["delegation_version"] == 2
    (sent,) = node.asked
    parcel = Parcel.from_bytes(b64decode(sent))
    assert find_papers(envelopes(parcel)).identity.release_key(bytes.fromhex(KEY))
    secrets = [Master.from_phrase(phrase_of(home).read_text())]
    seeds = [secrets[0].secret, secrets[0].root_key(1).seed]
    seeds.append(Keyring(Layout.of(home)).load("release"))
    assert not [seed for seed in seeds if bytes(seed) in b64decode(sent)]
    assert papers(home).identity == before.identity, "the store is the node's to change"


def test_a_machine_joins_through_the_node_that_runs(cli, home, node):
    result = cli("--json", "key", "join", "b" * 51 + "a")
    assert result.code == 0, result.err
    assert result.objects[0]["publisher_id"] == "b" * 51 + "a"
    assert node.asked == ["b" * 51 + "a"]
    assert cli("key", "join", "nonsense").code == 2


def test_the_list_of_keys_shows_what_is_here_and_nothing_secret(cli, home):
    cli("init")
    table, objects = cli("key", "ls"), cli("--json", "key", "ls")
    keyring = Keyring(Layout.of(home))
    assert SigningKey(keyring.load("release")).public.hex() in table.out
    told = table.out + table.err + objects.out + objects.err
    for name in ("release", "node", "oms"):
        assert keyring.load(name).hex() not in told
    (listed,) = objects.objects
    assert (listed["root_v"], listed["threshold"], listed["next_committed"]) == (1, 1, True)


def test_the_help_of_every_command_of_keys_can_be_read(cli, capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            cli("key", verb, "--help")
        assert ended.value.code == 0
        assert f"p2phub key {verb}" in capsys.readouterr().out
    assert cli("key").code == 0
    assert cli("key", "nonsense").code == 2


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("90d", 90 * 86400),
        ("12h", 12 * 3600),
        ("2w", 14 * 86400),
        ("1y", 365 * 86400),
        ("99999d", 99999 * 86400),
        ("1970-01-01", 86399),
        ("100000d", None),
        ("d", None),
        ("-1d", None),
        ("1m", None),
        ("tomorrow", None),
        ("1970-13-01", None),
        ("", None),
    ],
)
def test_when_a_key_expires_is_said_in_a_few_ways(text, second):
    if second is not None:
        assert moment_of(text, 0) == second
    else:
        with pytest.raises(UsageError):
            moment_of(text, 0)


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, " " * 64, "ab " * 32])
def test_what_is_no_public_key_is_refused(text):
    assert public_key(KEY) == bytes.fromhex(KEY)
    with pytest.raises(UsageError):
        public_key(text)
