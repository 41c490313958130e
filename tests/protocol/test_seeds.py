"""Web seeds as text: what may be one, and what becomes of it."""

import pytest

from p2phub.errors import UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.manifest import FileEntry
from p2phub.protocol.seeds import (
    document_url,
    filled,
    host_of,
    layouts_of,
    seed_layouts,
    with_path,
)

CONTENT = ContentId(2_000_000, bytes(range(32)))


@pytest.mark.parametrize(
    "text", ["", "mirror.example/x", "file:///etc/passwd", "https://x/a b", "https://me@x/y"]
)
def test_what_is_no_seed(text):
    with pytest.raises(UsageError, match="not a web seed"):
        with_path(text)


def test_a_password_is_not_told_on():
    with pytest.raises(UsageError) as caught:
        with_path("https://me:secret@mirror.example/x")
    assert "secret" not in caught.value.message


def test_a_folder_gets_the_path_at_its_end():
    assert with_path("https://x/models/") == with_path("https://x/models")
    assert filled(with_path("https://x/models/"), path="a/b") == "https://x/models/a/b"


def test_a_layout_stays_as_it_is():
    seed = "https://x/{publisher}/{name}/resolve/{commit}/{path}?d=1"
    assert with_path(seed) == seed
    values = {"publisher": "p", "name": "n", "commit": "c", "path": "ü/1%.bin"}
    assert filled(seed, **values) == "https://x/p/n/resolve/c/%C3%BC/1%25.bin?d=1"


@pytest.mark.parametrize("seed", ["https://x/{branch}/{path}", "https://x/{path", "https://x/{}"])
def test_places_that_mean_nothing(seed):
    with pytest.raises(UsageError, match="not a web seed"):
        with_path(seed)


def test_a_question_needs_a_path():
    with pytest.raises(UsageError, match=r"\{path\}"):
        with_path("https://x/download?id=7")


def test_a_value_that_is_not_known_yet():
    with pytest.raises(UsageError, match="commit"):
        filled("https://x/{commit}/{path}", path="x")


@pytest.mark.parametrize("value", ["{path}", "a{name}"])
def test_what_is_filled_in_is_not_filled_in_again(value):
    assert "{" not in filled("https://x/{path}", path=value, name="n")


def test_the_seeds_of_a_release_each_once():
    assert seed_layouts(["https://x/m", "https://x/m/", "https://y/{path}"]) == (
        "https://x/m/{path}",
        "https://y/{path}",
    )
    with pytest.raises(UsageError, match="too many"):
        seed_layouts([f"https://x{n}/" for n in range(9)])


def test_none_is_no_seed_and_stands_alone():
    assert seed_layouts(["none"]) == ()
    with pytest.raises(UsageError, match="none"):
        seed_layouts(["none", "https://x/m"])


def entries(*layouts, paths=("a", "a/b c.bin", "README.md")):
    """Files of a release that was published with these seeds."""
    return [
        FileEntry(
            path=tuple(path.split("/")),
            size=number,
            sha256=bytes(32),
            content=(content := ContentId(number, bytes([number]) * 32)),
            seeds=tuple(filled(each, path=path, content=str(content)) for each in layouts),
        )
        for number, path in enumerate(paths)
    ]


class TestLayoutsReadBackFromARelease:
    @pytest.mark.parametrize(
        "layouts",
        [
            (),
            ("https://a/m/{path}",),
            ("https://a/m/{path}", "https://b/v1/files/{content}"),
            ("https://a/{path}?from=a&x=1",),
            ("https://a/{content}/{path}",),
            ("https://a/README.md/{path}",),
        ],
    )
    def test_are_those_it_was_published_with(self, layouts):
        assert layouts_of(entries(*layouts)) == layouts

    def test_of_one_file_too(self):
        assert layouts_of(entries("https://a/a/{path}", paths=["a"])) == ("https://a/a/{path}",)

    def test_of_no_files(self):
        assert layouts_of([]) == ()

    def test_not_where_only_some_files_have_them(self):
        assert layouts_of([*entries("https://a/{path}"), *entries(paths=["other"])]) == ()

    def test_not_where_braces_stand_in_an_address(self):
        odd = entries("https://a/{path}", paths=["x"])[0]
        odd = FileEntry(odd.path, odd.size, odd.sha256, odd.content, seeds=("https://a/{q}/x",))
        assert layouts_of([odd]) == ()


def test_only_an_export_has_documents():
    url = f"https://x/pub/v1/files/{CONTENT}"
    assert document_url(url, CONTENT, CONTENT.digest) == (
        f"https://x/pub/v1/documents/{CONTENT.digest.hex()}"
    )
    assert document_url("https://x/model.bin", CONTENT, CONTENT.digest) is None
    assert document_url(f"{url}/more", CONTENT, CONTENT.digest) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://X.example/y", "x.example"),
        ("https://x.example:443/y", "x.example"),
        ("http://x.example:443/y", "x.example:443"),
        ("http://[::1]/", "[::1]"),
    ],
)
def test_hosts_as_people_call_them(url, host):
    assert host_of(url) == host
