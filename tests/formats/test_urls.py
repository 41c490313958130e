"""Addresses on the web: what may be signed and shown, and what may not."""

import pytest

from p2phub.formats.urls import is_url


@pytest.mark.parametrize(
    "url",
    [
        "http://mirror.example",
        "https://mirror.example:8443/a/b%20c?x=1",
        "http://192.0.2.1/x",
        "http://[2001:db8::1]:80/x",
        "https://mirror.example/@scope/x@1",
    ],
)
def test_a_web_address(url):
    assert is_url(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mirror.example/x",
        "ftp://mirror.example/x",
        "file:///etc/passwd",
        "HTTPS://mirror.example/x",
        "https:///x",
        "https://me@mirror.example/x",
        "https://me:secret@mirror.example/x",
        "https://mirror.example@evil.example/x",
        "https://mirror.example\\@evil.example/x",
        "https://mirror.example:0/x",
        "https://mirror.example:65536/x",
        "https://mirror.example:http/x",
        "https://mirror.example/a b",
        "https://mirror.example/x#part",
        "https://mirror.example/x\r\nHost: evil",
        "https://mirror.exämple/x",
        "https://[::1/x",
    ],
)
def test_what_is_no_web_address(text):
    assert not is_url(text)
