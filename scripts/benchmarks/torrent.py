"""A rival: BitTorrent v1 by libtorrent, on loopback.

    python scripts/benchmarks/torrent.py serve FOLDER TORRENT [encrypted] [up=BYTES] [nodes=N]
    python scripts/benchmarks/torrent.py fetch PORT[,PORT…] FOLDER TORRENT [encrypted] [nodes=N]

`serve` writes TORRENT, seeds FOLDER and prints its port; `fetch` brings it into FOLDER, `nodes`
times at once if that is given, each node knowing all the others. Tuned: TCP only, pieces of 1 MiB,
peers named directly, everybody unchoked, no limit but the one that is asked for in bytes a second.

Where several nodes fetch together, what they have asked a capped seed for waits at the seed, and is
sent though others have it by then: libtorrent's nodes ask for 400 to 800 blocks ahead, whatever
`max_out_request_queue` says, and the seed sent 1.9 copies in 2.1 times its time. So its queue is
kept short there, `nodes` told to both sides; every piece is small, as torrents of this size have
them, and no peer is asked for whole pieces.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import libtorrent
from rivals import make_durable, tell

PIECE, PIECE_TOGETHER = 1 << 20, 256 << 10
SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    "allow_multiple_connections_per_ip": True,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "max_queued_disk_bytes": 64 << 20,
    "send_buffer_watermark": 8 << 20,
    "max_allowed_in_request_queue": 4000,
    "unchoke_slots_limit": -1,
    "unchoke_interval": 1,
    "min_reconnect_time": 1,
    "connection_speed": 1000,
}
ALONE = {"max_out_request_queue": 2000}
"""Blocks of 16 KiB that a node asks a peer for ahead."""
TOGETHER = {
    "max_out_request_queue": 32,
    "max_allowed_in_request_queue": 32,
    "request_queue_time": 1,
    "whole_pieces_threshold": 0,
    "send_buffer_watermark": 512 << 10,
}
PATIENCE = 0.05
"""Seconds after which a node that just started is told of the others again."""


def session(words: Sequence[str]) -> libtorrent.session:
    """A node; with "encrypted", RC4 over everything, as far as the protocol goes."""
    encrypted = "encrypted" in words
    kind = libtorrent.enc_policy.forced if encrypted else libtorrent.enc_policy.disabled
    level = libtorrent.enc_level.rc4 if encrypted else libtorrent.enc_level.both
    chosen = {
        **(TOGETHER if is_together(words) else ALONE),
        "out_enc_policy": int(kind),
        "in_enc_policy": int(kind),
        "allowed_enc_level": int(level),
    }
    return libtorrent.session(SETTINGS | chosen)


def is_together(words: Sequence[str]) -> bool:
    return number("nodes", words) > 1


def describe(folder: Path, piece: int) -> bytes:
    """A torrent of the files in `folder`, with its SHA-1 pieces of so many bytes."""
    files = libtorrent.list_files(str(folder))
    made = libtorrent.create_torrent(files, piece, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(made, str(folder.parent))
    return libtorrent.bencode(made.generate())


def add(engine: libtorrent.session, torrent: Path, place: Path) -> libtorrent.torrent_handle:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(torrent))
    parameters.save_path = str(place)
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    return engine.add_torrent(parameters)


def serve(folder: Path, torrent: Path, words: Sequence[str]) -> None:
    torrent.write_bytes(describe(folder, PIECE_TOGETHER if is_together(words) else PIECE))
    engine = session(words)
    handle = add(engine, torrent, folder.parent)
    handle.set_upload_limit(number("up", words))
    while not handle.status().is_seeding:
        time.sleep(0.1)
    print(engine.listen_port(), flush=True)
    while True:
        time.sleep(60)


def fetch(ports: Sequence[int], folder: Path, torrent: Path, words: Sequence[str]) -> None:
    engines = [session(words) for _ in range(number("nodes", words) or 1)]
    places = [folder / str(which) for which in range(len(engines))]
    for place in places:
        place.mkdir()
    handles = [add(*each) for each in zip(engines, [torrent] * len(engines), places, strict=True)]
    own = [engine.listen_port() for engine in engines]
    introduced = 0.0
    while not all(handle.status().is_seeding for handle in handles):
        if time.perf_counter() - introduced > PATIENCE:
            introduced = time.perf_counter()
            for earlier, handle in enumerate(handles):  # a pair meets once, or drops both
                introduce(handle, [*ports, *own[:earlier]])
        time.sleep(0.005)
    for handle in handles:
        handle.flush_cache()
    make_durable(folder)


def introduce(handle: libtorrent.torrent_handle, ports: Sequence[int]) -> None:
    if handle.status().num_peers < len(ports):
        for port in ports:
            handle.connect_peer(("127.0.0.1", port))


def number(name: str, words: Sequence[str]) -> int:
    """What a word such as "up=60000000" says; 0 if it is not there."""
    return next((int(word.partition("=")[2]) for word in words if word.startswith(f"{name}=")), 0)


def main() -> None:
    match sys.argv[1:]:
        case "serve", folder, torrent, *words:
            serve(Path(folder), Path(torrent), words)
        case "fetch", ports, folder, torrent, *words:
            numbers = [int(port) for port in ports.split(",")]
            tell(lambda: fetch(numbers, Path(folder), Path(torrent), words))
            os._exit(0)  # the session's farewell takes seconds and moves no byte
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
