import pytest

from p2phub.errors import UsageError
from p2phub.formats import ids
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId, PublisherId, Reference, RepoId
from p2phub.formats.limits import MAX_FILE, MIB

PUBLISHER = PublisherId(sha256(b"publisher"))
HEX = "0123456789abcdef" * 4


def test_a_content_id_has_one_spelling():
    content = ContentId(12, bytes(range(32)))
    assert ContentId.parse(str(content)) == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        f"-{HEX}",
        f"05-{HEX}",
        f"+5-{HEX}",
        f"-5-{HEX}",
        f" 5-{HEX}",
        f"5_0-{HEX}",
        f"\u0665-{HEX}",
        f"5-{HEX.upper()}",
        f"5-{HEX}0",
        f"5-{HEX}\n",
        f"5--{HEX}",
        f"{MAX_FILE + 1}-{HEX}",
        f"{'9' * 5000}-{HEX}",
    ],
)
def test_a_second_spelling_of_a_content_id_is_refused(text):
    with pytest.raises(UsageError):
        ContentId.parse(text)


def test_a_file_of_one_mebibyte_has_no_table_and_one_byte_more_has():
    assert not ContentId(MIB, bytes(32)).has_table
    assert ContentId(MIB + 1, bytes(32)).has_table
    assert not ContentId(0, bytes(32)).has_table


def test_a_publisher_id_is_52_characters_and_has_one_spelling():
    text = str(PUBLISHER)
    assert len(text) == 52
    assert PublisherId.parse(text) == PUBLISHER
    assert text.startswith(PUBLISHER.short)
    assert len(PUBLISHER.short) == 8


def test_bits_that_base32_ignores_cannot_make_a_second_publisher_id():
    text = "a" * 51
    assert str(PublisherId.parse(text + "a")) == text + "a"
    for last in "bcdefghi":
        with pytest.raises(UsageError):
            PublisherId.parse(text + last)


@pytest.mark.parametrize(
    "wrong", [str.upper, lambda t: t[:-1], lambda t: t + "a", lambda t: t + "="]
)
def test_what_is_not_a_publisher_id_is_refused(wrong):
    with pytest.raises(UsageError, match="not a publisher id"):
        PublisherId.parse(wrong(str(PUBLISHER)))


def test_a_publisher_id_with_letters_base32_lacks_is_refused():
    for text in ("1" * 52, "é" * 52, "a" * 51 + "\n", ""):
        with pytest.raises(UsageError):
            PublisherId.parse(text)


def test_the_dht_key_is_short_enough_to_be_looked_up():
    key = ids.head_key(PUBLISHER)
    assert key == "/p2phub/" + str(PUBLISHER)[:40]
    assert len(key) <= 50


@pytest.mark.parametrize("name", ["a", "A", "_x_", "bert-base", "Llama-3.1_8B", "a.b", "x" * 96])
def test_names_as_hugging_face_has_them_are_fine(name):
    assert ids.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 97,
        "a--b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a.git",
        "a/b",
        "a b",
        "é",
        "a\n",
        "a@b",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(UsageError) as caught:
        ids.check_name(name)
    assert caught.value.remedy


@pytest.mark.parametrize("alias", ["", "Lab", "a_b", "a.b", "x" * 40, "é", "a\n", "a/b"])
def test_an_alias_is_lower_case_letters_digits_and_dashes(alias):
    with pytest.raises(UsageError):
        ids.check_alias(alias)
    assert ids.check_alias("lab-2") == "lab-2"


def test_no_alias_can_look_like_a_publisher_id():
    with pytest.raises(UsageError):
        ids.check_alias(str(PUBLISHER))


@pytest.mark.parametrize(
    "text",
    [
        "minilm",
        "lab/minilm",
        "lab/minilm@main",
        "minilm@v1.0",
        f"{PUBLISHER}/minilm@refs/pr/1",
        "lab/minilm@0123abcd",
    ],
)
def test_a_reference_is_written_as_it_was_read(text):
    assert str(Reference.parse(text)) == text
    assert Reference.parse("p2p://" + text) == Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "lab/",
        "/minilm",
        "lab/minilm@",
        "lab/../minilm",
        "a/b/c",
        "Lab/minilm",
        "lab/minilm@main@x",
        "lab/minilm@../x",
        "lab/minilm@/x",
        "lab/minilm@x/",
        "lab/minilm@" + "x" * 101,
        "lab/mini lm",
        "p2p://",
        "http://lab/minilm",
        "a" * 51 + "b/minilm",
    ],
)
def test_what_is_not_a_reference_is_refused(text):
    with pytest.raises(UsageError):
        Reference.parse(text)


def test_a_full_publisher_id_in_a_reference_is_told_from_an_alias():
    assert Reference.parse(f"{PUBLISHER}/x").publisher_id == PUBLISHER
    assert Reference.parse("lab/x").publisher_id is None
    assert Reference.parse("x").publisher_id is None


def test_a_repo_is_written_with_its_full_publisher():
    assert str(RepoId(PUBLISHER, "x")) == f"{PUBLISHER}/x"


def test_a_commit_id_is_the_first_40_digits_of_the_release_digest():
    digest = sha256(b"release")
    commit = ids.commit_id(digest)
    assert digest.hex().startswith(commit)
    assert ids.is_commit_id(commit)
    assert not ids.is_commit_id(commit.upper())
    assert not ids.is_commit_id(commit + "0")
    assert not ids.is_commit_id(commit[:-1] + "\n")


def test_seven_digits_are_too_few_for_a_commit():
    assert ids.is_commit_prefix("0123abcd")
    assert not ids.is_commit_prefix("0123abc")


def test_a_branch_cannot_be_taken_for_a_commit():
    assert ids.check_new_ref("0123abcd") == "0123abcd"
    with pytest.raises(UsageError, match="looks like a commit"):
        ids.check_new_ref("0" * 40)
