"""Every known way in which a file name leaves its folder, or is another file somewhere else."""

import pytest

from p2phub.errors import UnsafePathError
from p2phub.formats.limits import MAX_PATH_PARTS
from p2phub.formats.paths import check_path, check_unique, is_pickle, parse_path

HOSTILE = {
    "an absolute path": "/etc/passwd",
    "the parent folder": "..",
    "out of the folder": "../x",
    "out and in again": "a/../../x",
    "this folder": "a/./b",
    "an empty part": "a//b",
    "a folder": "a/",
    "nothing": "",
    "a drive letter": "C:/x",
    "a drive-relative path": "C:x",
    "an alternate data stream": "model.safetensors:evil",
    "backslashes": "..\\..\\x",
    "a share": "\\\\host\\share",
    "a NUL": "a\x00.txt",
    "a line end": "a\nb",
    "an escape sequence": "a\x1b[2J",
    "a C1 control": "a\x9b",
    "a line separator": "a\u2028b",
    "a name read backwards": "exe\u202etxt.bin",
    "half a surrogate pair": "a\ud800",
    "a device": "nul",
    "a device with a suffix": "sub/CON.txt",
    "a device with a space": "aux .json",
    "a device with a superscript digit": "com¹",
    "a numbered device": "Lpt9.tar.gz",
    "a trailing dot": "a.",
    "a trailing space": "a /b",
    "three dots": "...",
    "git's own folder": ".git/hooks/post-checkout",
    "git's own folder where case is ignored": "a/.GIT/config",
    "a part too long for a disk": "é" * 128,
    "too many parts": "/".join("a" * (MAX_PATH_PARTS + 1)),
    "too long altogether": "/".join(["x" * 200] * 6),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_is_refused(text):
    with pytest.raises(UnsafePathError) as caught:
        parse_path(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "model.safetensors",
        "onnx/model_quantized.onnx",
        ".gitattributes",
        ".gitignore",
        "a b/c (1).txt",
        "…/x",
        "..a/b..c",
        "模型/données.parquet",
        "👩\u200d🔬.md",
        "console.txt",
        "com10",
        "null",
        "x" * 255,
        "/".join("a" * MAX_PATH_PARTS),
    ],
)
def test_an_ordinary_name_is_fine(text):
    assert "/".join(parse_path(text)) == text


def test_a_persons_decomposed_letters_are_brought_into_nfc():
    assert parse_path("e\u0301.txt") == ("\u00e9.txt",)


def test_a_foreign_path_must_be_in_nfc_already():
    with pytest.raises(UnsafePathError, match="NFC"):
        check_path(("e\u0301.txt",))


def test_a_slash_cannot_hide_in_a_part():
    with pytest.raises(UnsafePathError):
        check_path(("a", "b/../../c"))


def test_no_path_is_not_a_path():
    with pytest.raises(UnsafePathError):
        check_path(())


@pytest.mark.parametrize(
    "paths",
    [
        [("a",), ("a",)],
        [("README.md",), ("readme.MD",)],
        [("x", "a"), ("X", "A")],
        [("straße",), ("STRASSE",)],
        [("\u00e9",), ("\u00c9",)],
        [("a",), ("a", "b")],
        [("a", "b", "c"), ("A",)],
        [("a", "B"), ("a", "b", "c")],
    ],
    ids=str,
)
def test_two_names_that_are_one_somewhere_are_refused(paths):
    for order in (paths, paths[::-1]):
        with pytest.raises(UnsafePathError):
            check_unique(order)


def test_names_that_merely_resemble_each_other_are_fine():
    check_unique([("a",), ("ab",), ("b", "a"), ("b", "ab"), ("c", "a", "a")])


def test_the_long_name_in_a_message_is_cut():
    with pytest.raises(UnsafePathError) as caught:
        parse_path("x" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.PT", "b.pth", "c.ckpt", "d.pkl"])
def test_files_that_execute_on_load_are_known(name):
    assert is_pickle(("folder", name))


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "bin", "a.bin.txt"])
def test_other_files_do_not(name):
    assert not is_pickle((name,))
