"""Domains that vouch for publishers: what a publisher claims, and what the domain says of it.

A publisher may claim a domain in the profile of its index. That is its own word, like the rest of
the profile; the domain's word is a file at `https://DOMAIN/.well-known/p2phub` or a TXT record of
`_p2phub.DOMAIN`, and either one that names the publisher's id proves the claim: whoever runs the
domain and whoever holds the keys say the same. It proves that and nothing else. No verdict depends
on it, and it pins nobody: domains are sold, stolen and let go.

Rules it keeps:
 * a domain has one spelling, lower-case ASCII; other scripts become punycode before anybody sees
   them, so that a Cyrillic letter never passes for a Latin one;
 * what a domain says is read within limits, and what is neither JSON nor lines of ids is refused;
 * whom a domain does not name, though it could be asked in both ways, it contradicts.

Asking is left to `p2phub.network`, keeping the answer to the store.

>>> read_domain("Bücher.example"), read_domain("example.org.")
('xn--bcher-kva.example', 'example.org')
>>> lab = PublisherId(bytes(32))
>>> listed_in_file(proof_file(lab).encode()) == listed_in_texts([proof_text(lab)]) == {lab}
True
>>> concluded(lab, None, frozenset({lab})), concluded(lab, frozenset(), frozenset())
('dns', 'contradicted')
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import idna

from p2phub.errors import MalformedError, UsageError
from p2phub.formats.documents import has_control
from p2phub.formats.ids import PUBLISHER_ID_LENGTH, PublisherId
from p2phub.formats.limits import MAX_DOMAIN, MAX_DOMAIN_PUBLISHERS, MAX_PROFILE_TEXT

Result = Literal["https", "dns", "contradicted", "unreachable"]
Named = frozenset[PublisherId]

NAME, DOMAIN = "name", "domain"
"""The keys of a profile that mean something here."""
WELL_KNOWN: Final = "/.well-known/p2phub"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)
_TXT: Final = "p2phub="


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """What came of a look at the domain that a publisher claims."""

    domain: str
    result: Result
    """How it vouches for the publisher, or that it does not, or that nobody could ask."""
    checked: int
    """Unix seconds."""
    proved: int | None = None
    """When it vouched for the publisher last: unix seconds; None if it never did."""

    def after(self, before: "DomainCheck | None") -> "DomainCheck":
        """This look, and what remains of the one before: an old proof counts until the domain
        contradicts it, and for the same domain only.
        """
        if self.result in ("https", "dns"):
            return DomainCheck(self.domain, self.result, self.checked, self.checked)
        kept = before is not None and before.domain == self.domain
        proved = before.proved if before and kept and self.result == "unreachable" else None
        return DomainCheck(self.domain, self.result, self.checked, proved)


def read_domain(text: str) -> str:
    """`text` as the one spelling of a domain. Raises `UsageError` for what is none."""
    shown = text[:80].encode("ascii", "backslashreplace").decode()
    spelled = text.removesuffix(".")
    if not spelled.isascii() and len(spelled) <= MAX_DOMAIN:
        try:
            spelled = idna.encode(spelled, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            spelled = ""
    spelled = spelled.lower()
    last = spelled.rpartition(".")[2]
    if len(spelled) > MAX_DOMAIN or not _DOMAIN.fullmatch(spelled) or _NUMBER.fullmatch(last):
        raise UsageError(
            f"not a domain: {shown!r}",
            remedy="Write it like example.org: labels of letters, digits and dashes.",
        )
    return spelled


def claimed_domain(profile: Mapping[str, str]) -> str | None:
    """The domain that a profile claims; None without one that is a domain at all."""
    try:
        return read_domain(profile.get(DOMAIN, ""))
    except UsageError:
        return None


def claimed_name(profile: Mapping[str, str]) -> str | None:
    """What a publisher calls itself; None without a name."""
    return profile.get(NAME, "").strip() or None


def check_profile_name(text: str) -> str:
    """`text` as a publisher may call itself. Raises `UsageError`."""
    if has_control(text) or len(text.encode()) > MAX_PROFILE_TEXT:
        raise UsageError(
            "the name has control characters in it or is too long",
            remedy=f"write at most {MAX_PROFILE_TEXT} bytes of plain text",
        )
    return text.strip()


def listed_in_file(data: bytes) -> Named:
    """Whom a file at `WELL_KNOWN` names: JSON with a list `publishers`, or one id a line.

    Raises `MalformedError` for what is neither.
    """
    try:
        text = data.decode("utf-8").strip()
        listed = _from_json(text) if text.startswith(("{", "[")) else _from_lines(text)
    except (ValueError, RecursionError):
        listed = None
    if listed is None or len(listed) > MAX_DOMAIN_PUBLISHERS:
        raise MalformedError(
            f"what stands at {WELL_KNOWN} is no list of publisher ids",
            remedy="`p2phub trust proof` prints what should stand there",
        )
    try:
        return frozenset(map(PublisherId.parse, listed))
    except UsageError as error:
        raise MalformedError(f"{WELL_KNOWN}: {error.message}", remedy=error.remedy) from error


def _from_json(text: str) -> list[str] | None:
    found = json.loads(text)
    listed = found.get("publishers") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        return None
    return listed


def _from_lines(text: str) -> list[str] | None:
    lines = [line.strip() for line in text.splitlines()]
    listed = [line for line in lines if line and not line.startswith("#")]
    return listed if all(len(line) == PUBLISHER_ID_LENGTH for line in listed) else None


def listed_in_texts(texts: Iterable[str]) -> Named:
    """Whom TXT records name; what else stands there is no business of ours.

    Raises `MalformedError` if they name too many.
    """
    found = set[PublisherId]()
    for text in texts:
        if text.startswith(_TXT) and len(text) == len(_TXT) + PUBLISHER_ID_LENGTH:
            try:
                found.add(PublisherId.parse(text.removeprefix(_TXT)))
            except UsageError:
                continue  # it looks like one and is a typing error of whoever runs the domain
    if len(found) > MAX_DOMAIN_PUBLISHERS:
        raise MalformedError("the TXT records name too many publishers")
    return frozenset(found)


def txt_name(domain: str) -> str:
    """Where the TXT record of a domain stands."""
    return f"_p2phub.{domain}"


def concluded(publisher: PublisherId, file: Named | None, texts: Named | None) -> Result:
    """What a domain says of `publisher`, by whom its file and its TXT records name. None: it could
    not be asked in this way.
    """
    if file is not None and publisher in file:
        return "https"
    if texts is not None and publisher in texts:
        return "dns"
    if file or texts or (file is not None and texts is not None):
        return "contradicted"
    return "unreachable"


def proof_file(publisher: PublisherId) -> str:
    """What to put at `WELL_KNOWN`."""
    return json.dumps({"publishers": [str(publisher)]}) + "\n"


def proof_text(publisher: PublisherId) -> str:
    """What to put into the TXT record."""
    return f"{_TXT}{publisher}"
