"""The baseline of T1: what a hundred lines of Python do with the same bytes, and nothing else.

TLS 1.3, two connections, a thread at each end of each; every MiB is checked by BLAKE3 before it is
written; each file is fsynced and renamed when it is whole. A connection brings whole files, so that
one can go on while the other waits for the disk. No names, no signatures, no resuming, no limits.

    python scripts/benchmarks/plain_tls.py serve CERTIFICATE FILE...
    python scripts/benchmarks/plain_tls.py fetch PORT FOLDER DIGESTS

`serve` prints its port; `fetch` prints the seconds, CPU seconds and MiB of memory that it took, as
JSON. DIGESTS is a file that `digests_of` has made.
"""

import json
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

from blake3 import blake3
from rivals import tell

MIB = 1 << 20
CHUNK = 256 << 10  # larger reads leave the cache and are slower
CONNECTIONS = 2
QUESTION = 24  # bytes: file, first and last byte, as hexadecimal digits


def digests_of(path: Path) -> list[str]:
    """The BLAKE3 of every MiB."""
    with path.open("rb") as file:
        return [blake3(piece).hexdigest() for piece in iter(lambda: file.read(MIB), b"")]


def serve(certificate: str, files: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    opened = [os.open(file, os.O_RDONLY) for file in files]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=answer, args=(context, raw, opened), daemon=True).start()


def answer(context: ssl.SSLContext, raw: socket.socket, opened: list[int]) -> None:
    buffer = memoryview(bytearray(CHUNK))
    with context.wrap_socket(raw, server_side=True) as connection:
        while asked := connection.recv(QUESTION):
            which, offset, stop = (int(asked[n : n + 8], 16) for n in (0, 8, 16))
            while offset < stop:
                count = os.preadv(opened[which], [buffer[: stop - offset]], offset)
                connection.sendall(buffer[:count])
                offset += count


def fetch(port: int, folder: Path, files: list[tuple[int, list[bytes]]]) -> None:
    """`files`: size and digests of each. Returns when all of them would survive a power cut."""
    shares = [range(n, len(files), CONNECTIONS) for n in range(CONNECTIONS)]
    threads = [
        threading.Thread(target=fetch_share, args=(port, folder, files, share)) for share in shares
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = os.open(folder, os.O_RDONLY)
    os.fsync(names)
    os.close(names)


def fetch_share(
    port: int, folder: Path, files: list[tuple[int, list[bytes]]], share: range
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(raw) as connection:
        for which in share:
            path = folder / f"{which}.part"
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.ftruncate(fd, files[which][0])
            fetch_file(connection, fd, which, *files[which])
            os.fsync(fd)
            os.close(fd)
            path.rename(path.with_suffix(""))


def fetch_file(
    connection: ssl.SSLSocket, fd: int, which: int, size: int, digests: list[bytes]
) -> None:
    buffer = memoryview(bytearray(MIB))
    connection.sendall(f"{which:08x}{0:08x}{size:08x}".encode())
    for index, digest in enumerate(digests):
        piece = buffer[: min(MIB, size - index * MIB)]
        filled = 0
        while filled < len(piece):
            filled += connection.recv_into(piece[filled:])
        if blake3(piece).digest() != digest:
            raise AssertionError("wrong bytes")
        os.pwrite(fd, piece, index * MIB)


def main() -> None:
    match sys.argv[1:]:
        case "serve", certificate, *files:
            serve(certificate, files)
        case "fetch", port, folder, digests:
            told = json.loads(Path(digests).read_text())
            files = [(size, [bytes.fromhex(each) for each in table]) for size, table in told]
            tell(lambda: fetch(int(port), Path(folder), files))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
