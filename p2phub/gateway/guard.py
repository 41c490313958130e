"""Who may speak to the gateway: the token, the Host and Origin headers, the size of a body.

A browser can be made to send requests to loopback by any page it shows, so loopback alone proves
nothing. The rules, in the order they are checked:

1. `Host` must be an address of ours, never a name that a stranger's DNS can point at us (DNS
   rebinding): where we listen on loopback that address, `127.0.0.1`, `[::1]` or `localhost` with
   our port; elsewhere any IP address, `localhost` or the name of this machine.
2. `Origin`, where a browser sends one, must be ours too. CORS is off: nothing allows another.
3. Anywhere but on loopback every request needs a token, but for the bytes of an upload, which are
   sent to addresses that prove themselves (`hub_lfs`, `hub_xet`). On loopback what is not open to
   everybody needs one (`check_token`). What a token may do is its scope (`tokens`).
4. A body may have at most `MAX_BODY` bytes, counted as they come.
5. At most `MAX_REQUESTS` requests are answered at once; the next ones are told to come again. The
   last `RESERVED` places are for the control API, so that `ps` gets through at any time.

>>> host_of("[::1]:8642"), host_of("localhost"), host_of("a:b:c")
(('::1', '8642'), ('localhost', ''), None)
"""

import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2phub.config import Endpoint
from p2phub.errors import BusyError, P2PHubError, RefusedError, UsageError
from p2phub.formats.limits import MAX_TRUST_LIST
from p2phub.gateway import hub_paths
from p2phub.gateway.tokens import PREFIX, MadeToken, Tokens, TokenScope, covers

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
MAX_BODY: Final = 1 << 20
"""Bytes of a request body; control requests are small."""
LARGER_BODIES: Final = {"/control/v1/trust/import": 2 * MAX_TRUST_LIST + MAX_BODY}
"""But for these paths, which ask for the token first: a list of whom to trust stands in quotes."""
LARGER_BELOW: Final = {"/v1/": 16 << 20, "/models/": 32 << 20}
"""And below these, where prompts, images and sounds are sent: few large ones at once, see
`inference_clients`."""
PROBES: Final = ("/healthz", "/readyz")
"""These take no place."""
MAX_REQUESTS: Final = 256
"""Requests answered at once."""
RESERVED: Final = 16
"""Of them, for the control API: models and files take no more than the others."""
CONTROL: Final = "/control/"
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([^\s:/\[\]]{1,255}))(?::([0-9]{1,5}))?")


def host_of(text: str) -> tuple[str, str] | None:
    """Host and port of a `Host` header; None if it is none."""
    found = _HOST.fullmatch(text)
    return ((found[1] or found[2]).lower(), found[3] or "") if found else None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class HttpError(Exception):
    """One of our errors, where HTTP has a status that says it more exactly than the tree does."""

    def __init__(self, error: P2PHubError, status: int) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


@dataclass(frozen=True, slots=True)
class Gate:
    """What a request is measured against."""

    listen: Endpoint
    """Where we really listen, port included."""
    tokens: tuple[str, ...]
    """Each opens everything."""
    machine: str = ""
    """The host name of this machine."""
    made: Tokens | None = None
    """Those that a person made besides."""

    @property
    def local(self) -> bool:
        return is_loopback(self.listen.host)

    def check_host(self, headers: Headers) -> None:
        """Rules 1 and 2. Raises `RefusedError`."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise RefusedError(
                f'this gateway does not answer to the name "{host[:100]}"',
                remedy=f"Call it http://{self.listen}.",
            )
        origin = headers.get("origin")
        ours = (f"http://{host}".lower(), f"https://{host}".lower())
        if origin is not None and origin.lower() not in ours:
            raise RefusedError(
                f'a web page of "{origin[:100]}" may not use this gateway',
                remedy="Only pages that this gateway serves itself may call it from a browser.",
            )

    def _is_ours(self, text: str) -> bool:
        found = host_of(text)
        if found is None or (found[1] or "80") != str(self.listen.port):
            return False
        host = found[0]
        if self.local:
            return host == self.listen.host or host in _LOOPBACK
        named = {"localhost", self.machine.lower(), f"{self.machine.lower()}.local"}
        return _address(host) is not None or host in named

    def scope_of(self, headers: Headers) -> TokenScope | None:
        """What the token that a request shows may do; None for none of ours."""
        found = self.shown_by(headers)
        return found.scope if isinstance(found, MadeToken) else found

    def shown_by(self, headers: Headers) -> Literal["admin"] | MadeToken | None:
        """The token that a request shows; "admin" for one of the node, None for none of ours."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        given = shown.strip().encode()
        if scheme.lower() != "bearer" or not given:
            return None
        # Every token is compared, so that the time taken tells nothing.
        fits = [hmac.compare_digest(each.encode(), given) for each in self.tokens]
        if any(fits):
            return "admin"
        return self.made.find(given) if self.made is not None else None

    def is_ours(self, headers: Headers) -> bool:
        """Whether a request shows a token that was made here, even if it holds no more: it is
        handed on to nobody.
        """
        shown = headers.get("authorization", "").partition(" ")[2].strip()
        return shown.startswith(PREFIX) or self.scope_of(headers) is not None

    def check_token(self, headers: Headers, needed: TokenScope) -> None:
        """Raises `RefusedError` as a 401 unless the request shows a token of ours, and as a 403 if
        that may not do what needs `needed`.
        """
        scope = self.scope_of(headers)
        if scope is None:
            shown = headers.get("authorization", "").partition(" ")[2]
            error = RefusedError(
                "the token given is wrong" if shown else "this call needs the token of the node",
                remedy='Send "Authorization: Bearer <token>"; the token is in the file run/token'
                " under the home folder of the node, or made by `p2phub token`.",
            )
            raise HttpError(error, 401)
        if not covers(scope, needed):
            error = RefusedError(
                f"this token has the scope {scope}, and this call needs the scope {needed}",
                remedy=f"The owner of the node makes one: `p2phub token --scope {needed}`.",
            )
            raise HttpError(error, 403)


class Guard:
    """ASGI middleware: the five rules for every request, before anything is routed."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._gate.check_host(headers)
        call = hub_paths.parse(scope.get("raw_path", b""))
        if not self._gate.local and not (call and hub_paths.proves_itself(call)):
            self._gate.check_token(headers, "read")
        most = (call and hub_paths.most_bytes(call)) or most_bytes(scope["path"])
        _check_length(headers.get("content-length", "0"), most)
        if scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        most_open = MAX_REQUESTS - (0 if scope["path"].startswith(CONTROL) else RESERVED)
        if self._open >= most_open:
            raise _too_many(most_open)
        self._open += 1
        try:
            await self._app(scope, _counted(receive, most), send)
        finally:
            self._open -= 1


def most_bytes(path: str) -> int:
    """How many bytes the body of a request to a path may have.

    >>> most_bytes("/v1/embeddings") > most_bytes("/control/v1/pull") == MAX_BODY
    True
    """
    below = (most for start, most in LARGER_BELOW.items() if path.startswith(start))
    return LARGER_BODIES.get(path) or next(below, MAX_BODY)


def _check_length(claimed: str, most: int) -> None:
    if not claimed.isdigit() or len(claimed) > 18 or int(claimed) > most:
        raise _too_large(most)


def _counted(receive: Receive, most: int) -> Receive:
    """`receive`, which stops at a body that is larger than its header said or may be."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return message

    return counted


def _too_many(most: int) -> BusyError:
    return BusyError(f"{most} requests are being answered already", remedy="Try again in a moment.")


def _too_large(most: int) -> HttpError:
    error = UsageError(
        f"the body of this request may have at most {most} bytes",
        remedy="Send less, or name the folder of files instead of sending them.",
    )
    return HttpError(error, 413)
