"""Peer ids are computed without libp2p, and come out as libp2p would have them."""

import subprocess
import sys

import pytest

from p2phub.errors import UsageError
from p2phub.network.libp2p_identity import peer_id_of_public, peer_id_of_seed, public_of_peer_id

SEEDS = [bytes(32), bytes(range(32)), b"\xff" * 32]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_peer_id_is_the_one_libp2p_computes(seed):
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    assert peer_id_of_seed(seed) == ID.from_pubkey(create_new_key_pair(seed).public_key).to_string()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peer_id_is_its_public_key(seed):
    peer_id = peer_id_of_seed(seed)
    assert peer_id_of_public(public_of_peer_id(peer_id)) == peer_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "12D3KooW",
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXT0",
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTNN",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "z" * 10_000,
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXT\u00e9",
    ],
)
def test_what_is_not_a_peer_id_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match="is not the peer id"):
        public_of_peer_id(text)


def test_showing_a_peer_id_does_not_import_libp2p():
    code = (
        "import sys, p2phub.network.libp2p_identity as i; i.peer_id_of_seed(bytes(32));"
        "sys.exit(any(m.partition('.')[0] == 'libp2p' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
