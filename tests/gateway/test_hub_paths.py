"""Paths of the Hugging Face Hub API mean one call each, or none of this API."""

import pytest

from p2phub.gateway.hub_paths import VERBS, ApiCall, FileCall, OtherCall, parse


@pytest.mark.parametrize("repo", ["gpt2", "lab/x", "lab/tree"])
@pytest.mark.parametrize("prefix", ["", "datasets/", "spaces/"])
@pytest.mark.parametrize("revision", ["main", "refs%2Fpr%2F1", "a" * 40])
def test_a_file_of_any_repo_at_any_revision(repo, prefix, revision):
    call = parse(f"/{prefix}{repo}/resolve/{revision}/a/b%20c.txt".encode())
    kind = {"": "model", "datasets/": "dataset", "spaces/": "space"}[prefix]
    assert call == FileCall(kind, repo, "resolve", revision.replace("%2F", "/"), "a/b c.txt")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_after_a_repo_of_one_or_two_segments(verb):
    for repo in ("gpt2", "lab/x"):
        call = parse(f"/api/models/{repo}/{verb}/main/a%2Fb".encode())
        assert call == ApiCall("model", repo, verb, ("main", "a/b"))


def test_a_repo_that_is_called_like_a_verb():
    assert parse(b"/api/models/lab/tree/tree/main") == ApiCall(
        "model", "lab/tree", "tree", ("main",)
    )
    assert parse(b"/lab/resolve/resolve/main/x") == FileCall(
        "model", "lab/resolve", "resolve", "main", "x"
    )


def test_lists_and_repos():
    assert parse(b"/api/models") == parse(b"/api/models/") == ApiCall("model", "", "", ())
    assert parse(b"/api/spaces/lab/x") == ApiCall("space", "lab/x", "", ())
    assert parse(b"/api/datasets/x?expand=sha") == ApiCall("dataset", "x", "", ())
    assert parse(b"/api/whoami-v2") == OtherCall("whoami-v2", ())
    assert parse(b"/api/organizations/lab/overview") == OtherCall(
        "organizations", ("lab", "overview")
    )


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/api",
        b"/api/",
        b"/api/unknown",
        b"/api/models/a/b/c",
        b"/v1/models",
        b"/models/lab/x",
        b"/control/v1/id",
        b"/lab/x/resolve/main",
        b"/lab/x/blob/main/f",
        b"/lab/x/resolve/%ff/f",
        b"//resolve//",
    ],
)
def test_what_is_no_call_of_this_api_is_left_to_others(path):
    call = parse(path)
    assert call is None or (isinstance(call, FileCall) and not call.path)
