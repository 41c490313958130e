"""The master secret and its phrase: what is written on paper must bring back every key, and what is
typed wrongly must be told without being repeated."""

import traceback

import pytest

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats.codec import encode
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import (
    MAX_LONE,
    MAX_PHRASE,
    MAX_ROOT_SECRET,
    Master,
    RootSecret,
)

MASTER = Master(bytes(range(1, 33)))
PHRASE = MASTER.phrase()
WORDS = PHRASE.split()


def wrong(text):
    with pytest.raises(UsageError) as caught:
        Master.from_phrase(text)
    return caught.value


class TestPhrase:
    @pytest.mark.parametrize(
        ("entropy", "words"),
        [
            ("00" * 32, "abandon " * 23 + "art"),
            ("7f" * 32, "legal winner thank year wave sausage worth useful " * 2
             + "legal winner thank year wave sausage worth title"),
            ("80" * 32, "letter advice cage absurd amount doctor acoustic avoid " * 2
             + "letter advice cage absurd amount doctor acoustic bless"),
            ("ff" * 32, "zoo " * 23 + "vote"),
            ("f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
             "void come effort suffer camp survey warrior heavy shoot primary clutch crush open"
             " amazing screen patrol group space point ten exist slush involve unfold"),
        ],
    )  # fmt: skip
    def test_the_vectors_of_bip_39_come_out(self, entropy, words):
        master = Master(bytes.fromhex(entropy))
        assert master.phrase() == words
        assert Master.from_phrase(words) == master

    @pytest.mark.parametrize(
        "text",
        [
            PHRASE.upper(),
            "\n\t " + "  ".join(WORDS) + " \r\n",
            "\n".join(f"{at}. {word}" for at, word in enumerate(WORDS, 1)),
            " ".join(f"{at}) {word}," for at, word in enumerate(WORDS, 1)),
        ],
        ids=["capitals", "spaces", "numbered", "commas"],
    )
    def test_a_phrase_is_read_however_it_was_written_down(self, text):
        assert Master.from_phrase(text) == MASTER

    @pytest.mark.parametrize("at", [0, 11, 23])
    def test_a_misspelt_word_is_named_by_its_place_with_the_nearest(self, at):
        typed = [*WORDS]
        typed[at] = typed[at][:-1] + "qx"
        error = wrong(" ".join(typed))
        assert f"word {at + 1} of the" in error.message
        assert repr(WORDS[at]) in error.remedy

    def test_several_misspelt_words_are_all_named(self):
        typed = [*WORDS]
        for at in (1, 5, 7, 20):
            typed[at] += "zz"
        error = wrong(" ".join(typed))
        assert "words 2, 6, 8, 21 of" in error.message
        assert error.remedy.count("perhaps") == 3

    @pytest.mark.parametrize(("count", "helped"), [(1, 1), (3, 3), (4, 3)])
    def test_for_so_many_misspelt_words_the_nearest_is_named(self, count, helped):
        typed = [f"{word}zz" for word in WORDS[:count]] + [*WORDS[count:]]
        assert wrong(" ".join(typed)).remedy.count("perhaps") == helped

    @pytest.mark.parametrize("count", [0, 1, 12, 23, 25])
    def test_too_few_or_too_many_words_are_counted(self, count):
        assert f"24 words, not {count}" in wrong(" ".join((WORDS * 2)[:count])).message

    def test_swapped_words_and_wrong_words_fail_the_checksum(self):
        for typed in ([WORDS[1], WORDS[0], *WORDS[2:]], [*WORDS[:23], "zoo"]):
            assert "checksum" in wrong(" ".join(typed)).message

    def test_a_text_of_the_greatest_length_is_read_and_a_longer_one_is_not(self):
        room = MAX_PHRASE - len(PHRASE)
        assert Master.from_phrase(PHRASE + " " * room) == MASTER
        assert f"at most {MAX_PHRASE}" in wrong(PHRASE + " " * (room + 1)).message

    def test_words_of_another_alphabet_are_just_not_in_the_list(self):
        assert "words 1, 2, 3" in wrong("слово " * 24).message

    @pytest.mark.parametrize("spoil", [["qqqqqq"], ["zoo"], []])
    def test_no_error_repeats_what_was_typed(self, spoil):
        text = " ".join([*WORDS[:23], *spoil])
        try:
            Master.from_phrase(text)
        except UsageError as error:
            told = traceback.TracebackException.from_exception(
                error, capture_locals=True, lookup_lines=False
            )
            inside = [frame for frame in told.stack if "p2phub/trust" in frame.filename]
            shown = str(error) + error.remedy + "".join(str(frame.locals) for frame in inside)
            assert inside
            assert WORDS[3] not in shown
            assert "qqqqqq" not in shown
        else:
            pytest.fail("it was taken")


class TestMaster:
    def test_every_root_has_a_key_of_its_own_and_none_is_the_master_or_the_backup_key(self):
        keys = [MASTER.root_key(v).seed for v in range(1, 20)]
        assert len({*keys, MASTER.backup_key(), MASTER.secret}) == 21
        assert MASTER.root_key(3) == Master(MASTER.secret).root_key(3)
        assert MASTER.root_key(3) != Master(bytes(32)).root_key(3)

    @pytest.mark.parametrize("v", [0, -1])
    def test_there_is_no_root_before_the_first(self, v):
        with pytest.raises(ValueError, match="no root"):
            MASTER.root_key(v)

    @pytest.mark.parametrize("size", [0, 31, 33])
    def test_a_master_of_another_size_is_none(self, size):
        with pytest.raises(ValueError, match="32 bytes"):
            Master(bytes(size))

    def test_nothing_secret_shows(self):
        for value in (MASTER, RootSecret(MASTER, ((1, bytes(range(32))),)), [MASTER.phrase()]):
            for secret in (MASTER.secret.hex(), bytes(MASTER.secret), bytes(range(32)), WORDS[0]):
                shown = secret if isinstance(secret, str) else repr(bytes(secret))[2:-1]
                assert shown not in repr(value)


class TestRootSecret:
    LONE = RootSecret(lone=((2, b"\2" * 32), (1, b"\1" * 32)))
    BOTH = RootSecret(MASTER, LONE.lone)

    def test_a_lone_seed_is_the_key_of_its_root_and_a_master_of_all_others(self):
        assert self.LONE.root_key(1) == self.BOTH.root_key(1) == SigningKey(b"\1" * 32)
        assert self.BOTH.root_key(2) == SigningKey(b"\2" * 32)
        assert self.BOTH.root_key(3) == MASTER.root_key(3)
        assert RootSecret(MASTER).root_key(1) == MASTER.root_key(1)

    def test_a_key_that_only_the_old_backup_has_is_not_found(self):
        with pytest.raises(NotFoundError, match="root 3") as caught:
            self.LONE.root_key(3)
        assert "backup file" in caught.value.remedy

    def test_it_makes_a_root_if_its_key_is_one_of_those_that_root_names(self):
        third = MASTER.root_key(3).public
        assert RootSecret(MASTER).makes(3, (bytes(32), third))
        assert not RootSecret(MASTER).makes(2, (bytes(32), third))
        assert self.LONE.makes(1, (SigningKey(b"\1" * 32).public,))
        assert not self.LONE.makes(3, (third,))

    @pytest.mark.parametrize("secret", [LONE, BOTH, RootSecret(MASTER), RootSecret()])
    def test_it_comes_back_from_its_bytes(self, secret):
        assert RootSecret.unpack(secret.pack()) == secret

    def test_as_many_lone_seeds_as_allowed_and_no_more(self):
        lone = tuple((v, bytes([v]) * 32) for v in range(1, MAX_LONE + 2))
        most = RootSecret(MASTER, lone[:-1])
        assert RootSecret.unpack(most.pack()) == most
        assert len(most.pack()) <= MAX_ROOT_SECRET
        with pytest.raises(ValueError, match="at most"):
            RootSecret(MASTER, lone)

    @pytest.mark.parametrize(
        "lone",
        [((1, bytes(32)), (1, bytes(32))), ((0, bytes(32)),), ((1, bytes(31)),), ((1, b""),)],
        ids=["twice", "root 0", "short", "empty"],
    )
    def test_lone_seeds_that_make_no_sense(self, lone):
        with pytest.raises(ValueError, match="seed"):
            RootSecret(None, lone)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            bytes(32),
            encode({"version": 2, "master": bytes(32), "lone": []}),
            encode({"version": 1, "master": bytes(31), "lone": []}),
            encode({"version": 1, "master": 5, "lone": []}),
            encode({"version": 1, "master": None, "lone": [5]}),
            encode({"version": 1, "master": None, "lone": [{"root": 1}]}),
            encode({"version": 1, "master": None, "lone": 5}),
            encode({"version": 1, "master": None}),
            encode({"version": 1, "master": None, "lone": [], "more": 1}),
            encode([1]),
            bytes(MAX_ROOT_SECRET + 1),
        ],
    )
    def test_other_bytes_are_refused(self, data):
        with pytest.raises(MalformedError, match="no root secret"):
            RootSecret.unpack(data)
