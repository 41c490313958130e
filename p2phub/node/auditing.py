"""The audit log of a node, for whoever has something to note, and for whoever looks at it.

A use case calls `await services.audit.record("bundle.export.started", to=…)` before the thing is
done where it must not happen unnoted (an import that cannot be logged does not happen), and after
it for what came of it. The log itself is `p2phub.store.audit_log`; looking at it needs no node.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from p2phub.airgap_results import AuditChecked, AuditHead, AuditLine, AuditProblem
from p2phub.airgap_settings import AirgapSettings
from p2phub.config import Config
from p2phub.errors import NotFoundError, P2PHubError, UsageError
from p2phub.formats.audit import MAX_LIST, Line, Value, cut
from p2phub.node.offline import layout_of
from p2phub.store.audit_log import AuditLog, check, read_lines
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store
from p2phub.trust.keys import SigningKey

log = logging.getLogger(__name__)

SETTINGS: Final = "gate.settings"
NODE_KEY: Final = "node"
Work = Callable[[], Line]


@dataclass(frozen=True, slots=True)
class Audit:
    """What one node notes."""

    log: AuditLog
    on_disk: Callable[..., object]
    """`await on_disk(work, *arguments)` runs it in a thread of the store."""

    async def record(self, event: str, **fields: object) -> None:
        """Note it; it is on the disk when this returns. Text that is too long is cut.

        Raises `NoSpaceError`, `RefusedError`.
        """
        await self.on_disk(self.log.append, event, cut(fields))  # type: ignore[misc]

    async def record_all(self, event: str, **named: Sequence[str]) -> None:
        """Note lists of any length, in as many lines as that takes; none for an empty one."""
        for name, texts in named.items():
            for at in range(0, len(texts), MAX_LIST):
                await self.record(event, **{name: texts[at : at + MAX_LIST]})


def audit_of(
    store: Store, seed: bytes, now: Callable[[], int], on_disk: Callable[..., object]
) -> Audit:
    """The log of the node that has `store` open; `seed`: of its own key."""
    return Audit(AuditLog(store.layout, store.disk, store.index, SigningKey(seed), now), on_disk)


async def begin_audit(audit: Audit, settings: AirgapSettings) -> None:
    """At a start: mend the log, and note how the gate is set, unless it was set so before. A disk
    that is full keeps no node from starting.
    """
    try:
        await audit.on_disk(audit.log.mend)  # type: ignore[misc]
        said = cut(asdict(settings))
        before = await audit.on_disk(_settings_noted, audit.log.path)  # type: ignore[misc]
        if said != (before or cut(asdict(AirgapSettings()))):
            await audit.record(SETTINGS, **said)
    except P2PHubError as error:
        log.warning("the audit log cannot be written: %s", error)


def _settings_noted(path: Path) -> Mapping[str, Value] | None:
    """How the gate was set when that was noted last."""
    found = deque((line.fields for line in read_lines(path) if line.event == SETTINGS), maxlen=1)
    return found[0] if found else None


def check_log(config: Config, home: Path, anchor: str = "") -> AuditChecked:
    """Look through the log of a home folder, also while its node runs; `anchor`: `SEQ:DIGEST`.

    Raises `NotFoundError` if this machine was never a node, `UsageError` for no anchor.
    """
    layout = layout_of(config, home)
    seed = Keyring(layout).load(NODE_KEY)
    if seed is None:
        raise NotFoundError(
            f"there is no node in {home}, and no log of it",
            remedy="name its home folder: --home DIR, or P2PHUB_HOME",
        )
    with Store.open(layout, read_only=True) as store:
        found = check(layout.audit, store.index, SigningKey(seed).public, _anchor(anchor))
    return AuditChecked(
        path=layout.audit,
        ok=not found.problems,
        lines=found.lines,
        seq=found.seq,
        digest=found.digest.hex(),
        problems=tuple(AuditProblem(each.line, each.what) for each in found.problems),
        notes=found.notes,
    )


def log_head(config: Config, home: Path) -> AuditHead:
    """The number and the digest of the last line, to be written down elsewhere.

    Raises `NotFoundError` for an empty log.
    """
    ends = deque(read_lines(layout_of(config, home).audit), maxlen=1)
    if not ends:
        raise NotFoundError(
            "nothing was logged here yet", remedy="bundles that come and go are logged"
        )
    last = ends[0]
    return AuditHead(last.seq, last.digest.hex(), last.time)


def log_lines(config: Config, home: Path, since: int = 0) -> list[AuditLine]:
    """What was logged from a moment (unix seconds) on; nothing is checked."""
    return [
        AuditLine(line.seq, line.time, line.event, dict(line.fields), line.digest.hex())
        for line in read_lines(layout_of(config, home).audit)
        if line.time >= since
    ]


def _anchor(text: str) -> tuple[int, bytes] | None:
    """`SEQ:DIGEST` as `p2phub audit head` prints it. Raises `UsageError`."""
    if not text:
        return None
    seq, _, digest = text.strip().partition(":")
    try:
        anchor = int(seq), bytes.fromhex(digest)
    except ValueError:
        anchor = 0, b""
    if anchor[0] < 1 or len(anchor[1]) != 32:
        raise UsageError(
            f"{text[:100]!r} is no place in a log",
            remedy="write what `p2phub audit head` printed: a number, a colon, 64 digits",
        )
    return anchor
