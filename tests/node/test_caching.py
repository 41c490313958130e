"""What can be put into a cache of Hugging Face's tools is known before anything is fetched."""

from pathlib import Path

import pytest

from p2phub.errors import UsageError
from p2phub.node.caching import check_cacheable
from p2phub.node.values import PullRequest


def request(reference, to=Path("/hub")):
    return PullRequest(reference, to, layout="hf")


@pytest.mark.parametrize("reference", ["lab/x", "x", f"{'a' * 52}/x@v1", "p2p://lab/x_.y@main"])
def test_repos_that_their_tools_take_are_taken(reference):
    check_cacheable(request(reference))


@pytest.mark.parametrize("reference", ["a--b/x", "-lab/x", "lab-/x@main"])
def test_an_alias_that_their_tools_refuse_is_refused_with_another_way_to_say_it(reference):
    with pytest.raises(UsageError, match="Hugging Face's tools take no repo") as caught:
        check_cacheable(request(reference))
    assert "full id" in caught.value.remedy


def test_a_call_without_a_folder_is_told_that_it_needs_one():
    with pytest.raises(UsageError, match="needs a folder"):
        check_cacheable(request("lab/x", None))
