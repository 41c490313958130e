"""A second baseline of T1, where libtorrent is installed: BitTorrent v1 on loopback, not encrypted.

    python scripts/benchmarks/torrent.py serve FOLDER TORRENT
    python scripts/benchmarks/torrent.py fetch PORT FOLDER TORRENT

`serve` writes TORRENT, seeds FOLDER and prints its port; `fetch` prints the seconds, CPU seconds
and MiB of memory that it took, fsync of every file included, as JSON. Tuned: no limits, TCP only,
pieces of 1 MiB, the peer named directly.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import libtorrent

PIECE = 1 << 20
SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    "allow_multiple_connections_per_ip": True,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "out_enc_policy": int(libtorrent.enc_policy.disabled),
    "in_enc_policy": int(libtorrent.enc_policy.disabled),
    "max_queued_disk_bytes": 64 << 20,
    "send_buffer_watermark": 8 << 20,
    "max_out_request_queue": 2000,
    "max_allowed_in_request_queue": 4000,
}


def session() -> libtorrent.session:
    return libtorrent.session(SETTINGS)


def describe(folder: Path) -> bytes:
    """A torrent of the files in `folder`, with its SHA-1 pieces."""
    files = libtorrent.list_files(str(folder))
    made = libtorrent.create_torrent(files, PIECE, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(made, str(folder.parent))
    return libtorrent.bencode(made.generate())


def add(engine: libtorrent.session, torrent: Path, place: Path) -> libtorrent.torrent_handle:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(torrent))
    parameters.save_path = str(place)
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    return engine.add_torrent(parameters)


def serve(folder: Path, torrent: Path) -> None:
    torrent.write_bytes(describe(folder))
    engine = session()
    handle = add(engine, torrent, folder.parent)
    while not handle.status().is_seeding:
        time.sleep(0.1)
    print(engine.listen_port(), flush=True)
    while True:
        time.sleep(60)


def fetch(port: int, folder: Path, torrent: Path) -> None:
    engine = session()
    handle = add(engine, torrent, folder)
    handle.connect_peer(("127.0.0.1", port))
    while not handle.status().is_seeding:
        time.sleep(0.005)
    handle.flush_cache()
    for path in sorted(folder.rglob("*")):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def main() -> None:
    match sys.argv[1:]:
        case "serve", folder, torrent:
            serve(Path(folder), Path(torrent))
        case "fetch", port, folder, torrent:
            started = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_SELF)
            fetch(int(port), Path(folder), Path(torrent))
            wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                json.dumps({"wall": wall, "cpu": cpu, "peak": after.ru_maxrss / 1024}), flush=True
            )
            os._exit(0)  # the session's farewell takes seconds and moves no byte
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
