"""Which addresses are inside, and where a redirect may lead."""

import pytest

from p2phub.errors import NoSourceError
from p2phub.network.web_guard import (
    LOOPBACK,
    NOWHERE,
    PRIVATE,
    PUBLIC,
    Guard,
    depth_of,
    redirected,
)


@pytest.mark.parametrize(
    ("address", "depth"),
    [
        ("9.9.9.9", PUBLIC),
        ("2620:fe::fe", PUBLIC),
        ("::ffff:9.9.9.9", PUBLIC),
        ("64:ff9b::909:909", PUBLIC),
        ("10.1.2.3", PRIVATE),
        ("172.31.0.1", PRIVATE),
        ("192.168.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd00::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("::ffff:10.0.0.1", PRIVATE),
        ("2002:0a00:0001::1", PRIVATE),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("169.254.169.254", NOWHERE),
        ("::ffff:169.254.169.254", NOWHERE),
        ("fe80::1%eth0", NOWHERE),
        ("0.0.0.0", NOWHERE),
        ("::", NOWHERE),
        ("224.0.0.251", NOWHERE),
        ("ff02::1", NOWHERE),
    ],
)
def test_how_far_inside(address, depth):
    assert depth_of(address) == depth


@pytest.mark.parametrize("address", ["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"])
def test_what_is_reserved_is_not_the_internet(address):
    assert depth_of(address) != PUBLIC


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://x.example/b"),
        ("b?c#d", "https://x.example/a/b?c"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("https://cdn.example/b", "https://cdn.example/b"),
    ],
)
def test_redirects_that_are_followed(location, target):
    assert redirected("https://x.example/a/", location) == target


@pytest.mark.parametrize(
    "location",
    [
        "http://x.example/b",
        "file:///etc/passwd",
        "//me:secret@cdn.example/",
        "https://[::1",
        "javascript:alert(1)",
        "/a b",
        "https://x.example:99999/",
    ],
)
def test_redirects_that_nobody_follows(location):
    with pytest.raises(NoSourceError):
        redirected("https://x.example/a/", location)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:7f00:1]"])
async def test_other_spellings_of_this_machine(host):
    with pytest.raises(NoSourceError):
        await Guard().place(f"http://{host}:1/")


async def test_what_the_user_named_is_reached_with_that_port_only():
    guard = Guard(frozenset({"127.0.0.1:8000"}))
    place = await guard.place("http://127.0.0.1:8000/x")
    assert (place.addresses, place.depth) == (("127.0.0.1",), LOOPBACK)
    with pytest.raises(NoSourceError):
        await guard.place("http://127.0.0.1:8001/x")


async def test_a_proxy_resolves_names_but_numbers_are_judged_here():
    assert (await Guard().place("http://mirror.example/", proxied=True)).addresses == ()
    with pytest.raises(NoSourceError):
        await Guard().place("http://10.0.0.1/", proxied=True)
