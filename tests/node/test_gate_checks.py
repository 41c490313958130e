"""What is looked at in files of strangers: what runs code, is not what it says, or is cut off."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from p2phub.formats.approval import MAX_DETAIL, pack_checks
from p2phub.node import gate_checks
from p2phub.node.gate_checks import _check, _each, _format, _header, _licence

HEAD = b'{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}'
GOOD = len(HEAD).to_bytes(8, "little") + HEAD + bytes(6)


@pytest.fixture
def look(tmp_path):
    """Looks at a file of that name with those bytes."""

    @contextmanager
    def opened(content):
        fd = os.open(content, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    services = SimpleNamespace(store=SimpleNamespace(blobs=SimpleNamespace(opened=opened)))

    def at(how, name, data):
        path = tmp_path / "file"
        path.write_bytes(data)
        file = SimpleNamespace(path=("sub", name), size=len(data), content=path)
        return _each(services, "formats", how, [file])

    return at


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pkl", b"anything"),
        ("pytorch_model.bin", b"anything"),
        ("README.md", b"\x7fELF\x02\x01\x01\x00"),
        ("weights.txt", b"\x80\x04\x95\x00"),
        ("setup.exe", b"MZ\x90\x00"),
        ("config.json", b"{"),
        ("config.json", b"[" * 200_000),
        ("config.json", b"\xff\xfe\x00"),
        ("vocab.txt", b"a\0b"),
    ],
)
def test_what_is_not_what_it_says_does_not_pass(look, name, data):
    check = look(_format, name, data)
    assert not check.ok
    assert check.detail.startswith(f"sub/{name}: ")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config.json", b'{"a": 1}'),
        ("README.md", b"MZ is how this text begins"),
        ("model.safetensors", GOOD),
        ("empty.txt", b""),
        ("picture.png", b"\x89PNG\0\0"),
    ],
)
def test_what_is_what_it_says_passes(look, name, data):
    assert look(_format, name, data).ok


@pytest.mark.parametrize(
    ("name", "data", "ok"),
    [
        ("m.safetensors", GOOD, True),
        ("m.safetensors", GOOD[:-1], False),
        ("m.safetensors", GOOD + b"x", False),
        ("m.safetensors", GOOD[:20], False),
        ("m.safetensors", b"", False),
        ("m.SafeTensors", (1 << 40).to_bytes(8, "little") + b"{}", False),
        ("m.gguf", b"GGUF" + bytes(3), False),
        ("m.gguf", b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, False),
        ("m.txt", b"", True),
    ],
)
def test_headers_that_leave_their_file_do_not_pass(look, name, data, ok):
    assert look(_header, name, data).ok == ok


def test_of_many_faults_a_few_are_named(look, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    files = [SimpleNamespace(path=(f"{n}.pkl",)) for n in range(30)]
    check = _each(None, "formats", _format, files)
    assert check.detail.endswith("and 25 more")


def test_licences_are_compared_whatever_their_case():
    assert _licence("Apache-2.0", ("apache-2.0",)).ok
    for license in ("gpl-3.0", "", "apache-2.0 "):
        assert not _licence(license, ("apache-2.0",)).ok


def test_whatever_is_said_fits_into_a_document():
    for said in ("", "x" * 10_000, "\U0001f600" * 5000, "a\x1b[2J\u202e\n", "\ud800"):
        check = _check("scanner", False, said)
        assert 0 < len(check.detail.encode()) <= MAX_DETAIL
        pack_checks([check])


def test_every_check_has_a_line_in_the_docstring():
    for name in gate_checks.NAMES:
        assert f"\n    {name} " in gate_checks.__doc__
