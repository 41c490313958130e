"""A folder of wheels that lies gets nothing installed."""

import hashlib

import pytest
from packaging.tags import Tag, sys_tags

from p2phub.cli import wheels
from p2phub.errors import MalformedError, NotFoundError, UnsupportedError, WrongBytesError

HERE = frozenset(sys_tags())
DIGEST = 64 * "a"
OURS = f"p2phub==2.0 --hash=sha256:{DIGEST}"
FILE = "p2phub-2.0-py3-none-any.whl"


def chosen(text, **files):
    return wheels.choose(wheels.read_pins(text), {FILE: DIGEST} | files, HERE)


def test_what_was_pinned_is_what_pip_is_told():
    text = f"# a comment\n\np2phub==2.0 \\\n    --hash=sha256:{64 * 'b'} --hash=sha256:{DIGEST}\n"
    assert wheels.requirements(chosen(text)) == OURS + "\n"


@pytest.mark.parametrize(
    "line",
    [
        "p2phub==2.0",
        "p2phub>=2.0 --hash=sha256:" + DIGEST,
        "p2phub==2.* --hash=sha256:" + DIGEST,
        "p2phub[inference]==2.0 --hash=sha256:" + DIGEST,
        "p2phub @ https://mirror.example/p2phub-2.0-py3-none-any.whl --hash=sha256:" + DIGEST,
        "https://mirror.example/p2phub-2.0-py3-none-any.whl --hash=sha256:" + DIGEST,
        "-e .",
        "-r /etc/passwd",
        "./p2phub-2.0-py3-none-any.whl",
        "--index-url https://mirror.example",
        "--no-binary :all:",
        "p2phub==2.0 --hash=md5:" + 32 * "a",
        "p2phub==2.0 --hash=sha256:" + DIGEST + " --config-settings=x=y",
        "p2phub==2.0 ; python_version>'3' --hash=sha256:" + DIGEST,
        "p2phub==2.0 --hash=sha256:" + DIGEST + "\x0b--index-url=x",
        "p2phub==2.0\r--index-url=x --hash=sha256:" + DIGEST,
    ],
)
def test_a_requirement_of_another_form_is_refused(line):
    with pytest.raises(MalformedError):
        wheels.read_pins(f"{OURS}\n{line}\n".replace(OURS + "\n", "", int("p2phub==2" in line)))


def test_a_package_that_is_pinned_twice_is_refused():
    with pytest.raises(MalformedError, match="twice"):
        wheels.read_pins(f"{OURS}\nP2PHub==3.0 --hash=sha256:{DIGEST}")


def test_a_wheel_with_other_bytes_than_were_pinned_is_refused():
    with pytest.raises(WrongBytesError):
        chosen(OURS, **{FILE: 64 * "b"})


def test_a_wheel_for_another_python_or_platform_is_refused():
    other = {FILE: DIGEST, "x-1-cp27-cp27m-win32.whl": DIGEST}
    with pytest.raises(UnsupportedError, match="another Python or platform"):
        chosen(f"{OURS}\nx==1 --hash=sha256:{DIGEST}", **other)


def test_of_wheels_for_several_platforms_those_for_this_one_are_taken():
    also = {"p2phub-2.0-cp27-cp27m-win32.whl": 64 * "b"}
    assert [each.file for each in chosen(OURS, **also)] == [FILE]


def test_source_is_never_built():
    with pytest.raises(UnsupportedError, match="is source"):
        chosen(f"{OURS}\nx-y==1 --hash=sha256:{DIGEST}", **{"x_y-1.tar.gz": DIGEST})


def test_what_is_pinned_and_not_there_is_named():
    with pytest.raises(NotFoundError, match="x 1"):
        chosen(f"{OURS}\nx==1 --hash=sha256:{DIGEST}")


def test_a_folder_without_p2phub_is_no_update():
    with pytest.raises(NotFoundError, match="does not name p2phub"):
        chosen(f"x==1 --hash=sha256:{DIGEST}", **{"x-1-py3-none-any.whl": DIGEST})


def test_a_file_that_is_no_wheel_is_refused():
    with pytest.raises(MalformedError):
        chosen(OURS, **{"p2phub.whl": DIGEST})


def test_bytes_that_change_after_they_were_verified_are_not_installed(tmp_path):
    source, to = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    to.mkdir()
    (source / FILE).write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    version = wheels.Version("2.0")
    wheel = wheels.Wheel(FILE, "p2phub", version, frozenset({Tag("py3", "none", "any")}), digest)
    wheels.copy([wheel], source, to)
    assert (to / FILE).read_bytes() == b"wheel"
    (to / FILE).unlink()
    (source / FILE).write_bytes(b"other")
    with pytest.raises(WrongBytesError):
        wheels.copy([wheel], source, to)
