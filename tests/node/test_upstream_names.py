"""Which names are an upstream's, and what its copies are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import NotFoundError, RefusedError
from p2phub.formats.ids import check_name
from p2phub.node.upstream_names import check_allowed, check_foreign, copy_name

PART = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?", fullmatch=True)
NAME = st.one_of(PART, st.builds("{}/{}".format, PART, PART)).filter(
    lambda name: "--" not in name and ".." not in name and not name.endswith(".git")
)


@given(NAME, st.sampled_from(["model", "dataset", "space"]))
def test_a_copy_has_a_name_that_a_repo_may_have(repo, kind):
    check_foreign(repo)
    check_name(copy_name(kind, repo))


@given(NAME, NAME)
def test_no_two_kinds_share_a_copy(one, other):
    assert copy_name("model", one) != copy_name("dataset", one)
    if one != other:
        assert copy_name("model", one) != copy_name("model", other)


@pytest.mark.parametrize(
    ("one", "other"), [("a.b/c", "a/b.c"), ("a.b", "a/b"), ("x" * 96, "x" * 95 + "y")]
)
def test_names_that_look_alike_are_not_one(one, other):
    assert copy_name("model", one) != copy_name("model", other)
    assert copy_name("dataset", "b") != copy_name("model", "datasets/b")


@pytest.mark.parametrize(
    "repo",
    ["", "/", "a/", "/b", "a/b/c", "..", "a/..", "../b", "a--b", "a..b", "x.git", "-a", "a-", "ä",
     "a b", "a" * 97, "a\n", "a/b\0"],
)  # fmt: skip
def test_what_no_hub_can_have_is_not_asked_for(repo):
    with pytest.raises(NotFoundError):
        check_foreign(repo)


@pytest.mark.parametrize(
    ("allow", "deny", "repo", "good"),
    [
        ([], [], "org/x", True),
        (["org/*"], [], "org/x", True),
        (["org/*"], [], "other/x", False),
        (["org/*"], ["org/x"], "org/x", False),
        ([], ["org/*"], "org/x", False),
        (["datasets/*"], [], "org/x", False),
        (["models/org/*"], [], "org/x", True),
        (["Org/*"], [], "org/x", False),
        (["gpt?"], [], "gpt2", True),
    ],
)
def test_rules(allow, deny, repo, good):
    if good:
        check_allowed("model", repo, allow, deny)
        return
    with pytest.raises(RefusedError, match="does not get"):
        check_allowed("model", repo, allow, deny)


def test_a_rule_may_be_of_one_kind():
    check_allowed("dataset", "org/x", ["datasets/org/*"], ["models/*"])
    with pytest.raises(RefusedError):
        check_allowed("model", "org/x", ["datasets/org/*"], [])
