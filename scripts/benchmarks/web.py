"""A rival: nginx, and a downloader that people use with it. Plain HTTP by sendfile, not encrypted.

    python scripts/benchmarks/web.py serve FOLDER
    python scripts/benchmarks/web.py fetch PORT FOLDER curl|aria2c NAME=BLAKE3…

curl brings two files at a time, aria2c each file over four connections. BLAKE3 of every file is
compared afterwards, on all cores as `b3sum` does, and every file is fsynced.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3
from rivals import make_durable, tell

CONFIGURATION = """
daemon off; master_process off; pid {place}/pid; error_log {place}/errors;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000;
  client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;
  uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
TOOLS = {
    "curl": "curl --silent --no-progress-meter --fail --parallel --parallel-max 2 --noproxy *"
    " --config -",
    "aria2c": "aria2c --quiet --no-conf --all-proxy= --max-concurrent-downloads=2 --split=4"
    " --max-connection-per-server=4 --min-split-size=1M --file-allocation=none --input-file=-",
}
TRIES = 200


def serve(folder: Path) -> None:
    """Become nginx. A child of ours waits until it answers, and prints its port then."""
    place = Path(tempfile.mkdtemp(prefix="nginx-", dir=folder.parent))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, port=port, folder=folder))
    if os.fork() == 0:
        print(port if answers(port) else "", flush=True)
        os._exit(0)
    program = shutil.which("nginx") or "nginx"
    words = ["-p", str(place), "-e", str(place / "errors"), "-c", str(place / "nginx.conf")]
    os.execv(program, [program, *words])


def answers(port: int) -> bool:
    for _ in range(TRIES):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def fetch(port: str, folder: Path, tool: str, digests: Mapping[str, str]) -> None:
    addresses = [f"url = http://127.0.0.1:{port}/{name}" for name in digests]
    if tool == "curl":
        asked = "\n".join(["remote-name-all", *addresses])
    else:
        asked = "\n".join(address.removeprefix("url = ") for address in addresses)
    subprocess.run(TOOLS[tool].split(), input=asked, text=True, cwd=folder, check=True)
    for name, digest in digests.items():
        if blake3(max_threads=blake3.AUTO).update_mmap(folder / name).hexdigest() != digest:
            raise AssertionError(f"{name} has other bytes")
    make_durable(folder)


def digests_of(folder: Path) -> list[str]:
    """What to tell `fetch` of the files in `folder`."""
    return [
        f"{path.name}={blake3().update_mmap(path).hexdigest()}" for path in sorted(folder.iterdir())
    ]


def main() -> None:
    match sys.argv[1:]:
        case "serve", folder:
            serve(Path(folder))
        case "fetch", port, folder, tool, *digests:
            told = dict(each.split("=") for each in digests)
            tell(lambda: fetch(port, Path(folder), tool, told))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
