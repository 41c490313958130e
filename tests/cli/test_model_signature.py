"""`verify --oms`, `key certify-oms` and `key export-oms` as people and programs use them."""

import os

import pytest

from p2phub.cli.model_signature import MAX_KEY, read_key
from p2phub.formats.digest import sha256
from p2phub.formats.limits import MAX_OMS_PEM
from p2phub.formats.oms import about
from p2phub.trust.model_keys import ModelKey, from_pem, to_pem
from p2phub.trust.model_signatures import sign_statement

KEY = ModelKey(b"k" * 32)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"a")
    statement = about("m", [(("a.txt",), sha256(b"a"))])
    (folder / "model.sig").write_bytes(sign_statement(statement, KEY))
    return folder


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "public.pem"
    path.write_bytes(to_pem(KEY.public))
    return path


def test_a_folder_that_is_right_ends_with_0_and_numbered_steps(cli, home, folder, pem):
    done = cli("verify", "--oms", folder, "--oms-key", pem)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{folder}\tverified")
    assert "1 ok    model.sig" in done.out
    assert not home.exists()  # a machine that was never initialised stays so


def test_one_that_is_wrong_ends_with_4_and_names_the_file(cli, folder, pem):
    (folder / "a.txt").write_bytes(b"b")
    done = cli("verify", "--oms", folder, "--oms-key", pem)
    assert done.code == 4
    assert f"sha256 {sha256(b'a').hex()} was signed" in done.err
    assert "a.txt" in done.err


def test_programs_get_one_object_either_way(cli, folder, pem):
    (told,) = cli("--json", "verify", "--oms", folder, "--oms-key", pem).objects
    assert (told["ref"], told["verdict"], told["stale_since"]) == (str(folder), "verified", None)
    assert {"number", "name", "ok", "detail"} == set(told["steps"][0])
    (folder / "more").touch()
    done = cli("--json", "verify", "--oms", folder, "--oms-key", pem)
    assert (done.code, done.objects[0]["verdict"]) == (4, "corrupt")


def test_options_do_what_they_say(cli, folder, pem):
    (folder / "more").touch()
    (folder / "model.sig").rename(folder / "x.sig")
    given = ["verify", "--oms", folder, "--oms-key", pem, "--signature", folder / "x.sig"]
    assert cli(*given).code == 4
    assert cli(*given, "--ignore", "more", "--ignore", "other").code == 0
    (folder / "b").symlink_to("a.txt")
    assert cli(*given, "--ignore", "more").code == 4
    assert cli(*given, "--ignore", "more", "--ignore", "b").code == 0
    (folder / "a.txt").unlink()
    assert cli(*given, "--ignore", ".", "--partial").code == 4  # nothing at all is here


def test_a_name_that_moves_the_cursor_is_shown_and_not_obeyed(cli, folder, pem):
    (folder / "\x1b[2Jevil").touch()
    done = cli("verify", "--oms", folder, "--oms-key", pem)
    assert done.code == 4
    assert "\x1b" not in done.out + done.err


def test_a_signature_that_nobody_can_vouch_for_says_what_to_give(cli, folder):
    done = cli("verify", "--oms", folder)
    assert done.code == 4
    assert "--oms-key" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--oms"],
        ["verify", "--oms", "--all"],
        ["verify", "--signature", "x"],
        ["verify", "--partial"],
        ["verify", "--allow-symlinks", "lab/x"],
        ["verify", "--ignore", "x"],
        ["verify", "--oms", "x", "--oms-key", "k", "--publisher", "lab"],
    ],
    ids=" ".join,
)
def test_options_that_mean_nothing_are_usage_errors(cli, words):
    assert cli(*words).code == 2


def test_files_that_are_not_there(cli, folder, pem, tmp_path):
    assert cli("verify", "--oms", tmp_path / "no", "--oms-key", pem).code == 3
    assert cli("verify", "--oms", folder, "--oms-key", tmp_path / "no").code == 3
    assert cli("verify", "--oms", folder, "--oms-key", tmp_path).code == 3
    given = ["--oms-key", pem, "--signature", tmp_path / "no"]
    assert cli("verify", "--oms", folder, *given).code == 3


def test_a_key_that_is_none(cli, folder, tmp_path):
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\n", bytes(1 << 17)):
        (tmp_path / "key").write_bytes(data)
        assert cli("verify", "--oms", folder, "--oms-key", tmp_path / "key").code == 2


@pytest.mark.parametrize("over", [0, 1])
def test_a_file_with_a_key_is_as_long_as_it_may_be(cli, folder, pem, over):
    data = pem.read_bytes()
    pem.write_bytes(b"#" * (MAX_KEY - len(data) - 1 + over) + b"\n" + data)
    assert pem.stat().st_size == MAX_KEY + over
    assert cli("verify", "--oms", folder, "--oms-key", pem).code == 2 * over


@pytest.mark.parametrize(("size", "read"), [(MAX_KEY, MAX_KEY), (MAX_KEY + 9, MAX_KEY + 1)])
def test_of_a_file_that_is_longer_than_a_key_the_beginning_is_read(tmp_path, size, read):
    (tmp_path / "key").write_bytes(bytes(size))
    assert len(read_key(tmp_path / "key")) == read
    assert MAX_KEY == MAX_OMS_PEM


def test_our_key_is_exported_and_another_one_certified(cli, home, tmp_path, pem):
    cli("init", "--name", "me")
    (told,) = cli("--json", "key", "export-oms", tmp_path / "own.pem").objects
    assert told["certified"] is True
    assert len(from_pem((tmp_path / "own.pem").read_bytes())) == 33
    assert cli("key", "export-oms", tmp_path / "own.pem").code == 7
    (phrase,) = home.glob("*.phrase")
    (made,) = cli("--json", "key", "certify-oms", "--phrase-file", phrase, "--key", pem).objects
    assert made["delegation_version"] == 2
    assert cli("key", "certify-oms", "--phrase-file", phrase, "--key", pem).code == 2
    assert cli("key", "export-oms", tmp_path / "x.pem", "--publisher", "me").code == 2
    rows = cli("--json", "key", "ls").objects[0]["keys"]
    assert [row["name"] for row in rows if row["roles"] == ["oms"]] in (
        ["oms", None],
        [None, "oms"],
    )


def test_a_machine_without_identity_exports_nothing(cli, tmp_path):
    assert cli("key", "export-oms", tmp_path / "x.pem").code == 3
    assert not (tmp_path / "x.pem").exists()


def test_a_name_that_is_no_text_is_a_file_too_many(cli, folder, pem):
    (folder / os.fsdecode(b"\xff\xfe")).touch()
    for words in (["verify"], ["--json", "verify"]):
        done = cli(*words, "--oms", folder, "--oms-key", pem)
        assert done.code == 4
        assert "nobody signed" in done.out
