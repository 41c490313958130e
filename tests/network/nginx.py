"""A real nginx in front of a folder, for tests; they are skipped where it is not installed."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = shutil.which("nginx")
CONFIGURATION = """
daemon off; master_process off; pid {place}/pid; error_log {place}/errors;
events {{ worker_connections 64; }}
http {{
  access_log {place}/access; sendfile on;
  gzip on; gzip_min_length 1; gzip_types application/octet-stream;
  client_body_temp_path {place}/1; proxy_temp_path {place}/2; fastcgi_temp_path {place}/3;
  uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;
  {before}
  server {{ listen 127.0.0.1:{port}{tls}; root {folder}; {more} }}
}}
"""
TRIES = 250


@contextmanager
def nginx(
    folder: Path, *, keys: tuple[Path, Path] | None = None, before: str = "", more: str = ""
) -> Iterator[str]:
    """The address of a server of `folder`. `keys`: certificate and key, for TLS. `before`, `more`:
    of its configuration, of all servers and of this one.
    """
    with tempfile.TemporaryDirectory(prefix="p2phub-nginx-") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        place, tls = Path(name), ""
        if keys is not None:
            tls, more = " ssl", f"ssl_certificate {keys[0]}; ssl_certificate_key {keys[1]}; {more}"
        text = CONFIGURATION.format(
            place=place, port=port, folder=folder, tls=tls, before=before, more=more
        )
        (place / "nginx.conf").write_text(text)
        words = ["-p", name, "-e", f"{name}/errors", "-c", f"{name}/nginx.conf"]
        server = subprocess.Popen([PROGRAM or "nginx", *words])
        try:
            _wait_for(port)
            yield f"http{'s' if keys else ''}://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _wait_for(port: int) -> None:
    for _ in range(TRIES):
        with socket.socket() as attempt:
            if not attempt.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise AssertionError("nginx does not answer")
