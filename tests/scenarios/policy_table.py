"""The one table of verdicts: what is wrong with a release, and what each policy makes of it.

`EXPECTED` is the table. A `Case` sets one thing wrong and nothing else. A path is a row of `PATHS`
in `test_policy_table.py`: a name, a function that takes a case and a rule as far as that path goes,
and the cases that it leaves out, each with the reason. A new path adds one row there.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from p2phub.formats.digest import sha256
from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.forgeries import signed_by_others, unsigned
from p2phub.testing.notices import fork_proof, revoke_release, withdraw
from p2phub.testing.publishers import CREATED, FakePublisher, Publication, fake_file
from p2phub.trust.envelope import Envelope
from p2phub.trust.policy import Rule
from p2phub.trust.verdict import Verdict

Decision = Literal["allow", "warn", "refuse"]

RULES: Final[Mapping[str, Rule]] = {
    "off": Rule("off"),
    "warn": Rule("warn"),
    "enforce": Rule("enforce"),
    "warn, stale refused": Rule("warn", stale="refuse"),
    "enforce, stale refused": Rule("enforce", stale="refuse"),
}

LENIENT: Final = ("off", "warn", "warn, stale refused")
"""The rules that let through what is not well signed."""

_ALWAYS: Final = ("refuse",) * 5
_SIGNATURE: Final = ("allow", "warn", "refuse", "warn", "refuse")
_NEVER_SILENT: Final = ("warn", "warn", "refuse", "warn", "refuse")

EXPECTED: Final[Mapping[str, tuple[Verdict, tuple[Decision, ...]]]] = {
    # what is wrong     the verdict              what each of RULES makes of it
    "right": (Verdict.VERIFIED, ("allow",) * 5),
    "unsigned": (Verdict.UNSIGNED, _SIGNATURE),
    "wrong key": (Verdict.UNTRUSTED_KEY, _SIGNATURE),
    "expired key": (Verdict.UNTRUSTED_KEY, _SIGNATURE),
    "revoked": (Verdict.REVOKED, _NEVER_SILENT),
    "withdrawn": (Verdict.WITHDRAWN, _NEVER_SILENT),
    "forked": (Verdict.FORKED, _NEVER_SILENT),
    "stale": (Verdict.STALE, ("allow", "warn", "warn", "refuse", "refuse")),
    "rolled back": (Verdict.ROLLED_BACK, _ALWAYS),
    "poisoned": (Verdict.CORRUPT, _ALWAYS),
}

FILES: Final = {"config.json": b"{}", "README.md": b"hello", "model.safetensors": b"weights"}
BIG: Final = b"poisoned" * (1 << 18)
"""Two MiB: a file with a piece table, whose SHA-256 is a claim."""


@dataclass(frozen=True)
class Case:
    """One publisher with one release `x`, and what is wrong with it."""

    name: str
    lab: FakePublisher
    made: Publication
    release: bytes
    """As it is served."""
    notices: tuple[Envelope, ...] = ()
    newer: Publication | None = None
    """What whoever is served has seen before."""
    hidden: Mapping[bytes, bytes] = field(default_factory=dict)
    """What takes the place of documents of `lab`."""

    @property
    def packed(self) -> tuple[bytes, ...]:
        """Head, index, pages and release as they are served."""
        return (*self.made.packed[:-1], self.release)


def make(name: str) -> Case:
    """The case with this name, the same bytes every time."""
    lab = FakePublisher(1, not_after=CREATED + 100 if name == "stale" else 0)
    if name == "poisoned":
        lie = fake_file("weights.safetensors", BIG)
        assert lie.table is not None
        entry = replace(lie.entry, sha256=sha256(b"an honest file"))
        lab.contents[entry.content], lab.tables[entry.content] = BIG, lie.table.pack()
        made = lab.publish("x", [entry])
        return Case(name, lab, made, made.release.pack())
    if name == "expired key":
        lab.delegate("release", ReleaseKey(lab.key("old").public, not_after=CREATED - 1))
        made = lab.publish("x", FILES, signers=("old",))
        return Case(name, lab, made, made.release.pack())
    made = lab.publish("x", FILES)
    case = Case(name, lab, made, made.release.pack())
    match name:
        case "unsigned":
            release = unsigned(case.release)
        case "wrong key":
            release = signed_by_others(case.release, FakePublisher(66).key("release"))
        case "revoked":
            return replace(case, notices=(revoke_release(lab, made.release.digest),))
        case "withdrawn":
            return replace(case, notices=(withdraw(lab, made.release.digest),))
        case "forked":
            twin = FakePublisher(1)
            one, _ = twin.sign_index(writer_seq=7, parents=(), seq=1)
            two, _ = twin.sign_index(writer_seq=7, parents=(), seq=1, created=5)
            return replace(case, notices=(fork_proof(lab, one, two),))
        case "rolled back":
            before = dict(lab.documents), lab.head, lab.index
            newer = lab.publish("x", {"README.md": b"newer"})
            lab.documents, lab.head, lab.index = before
            return replace(case, newer=newer)
        case _:
            return case
    return replace(case, release=release, hidden={made.release.digest: release})


@dataclass(frozen=True)
class Outcome:
    """Where a path ended, as far as it tells: None where it does not."""

    verdict: str | None
    refused: bool | None = None
    decision: Decision | None = None


Run = Callable[..., Awaitable[Outcome]]


@dataclass(frozen=True)
class Path:
    """One way to a release."""

    name: str
    run: Run
    leaves_out: Mapping[str, str] = field(default_factory=dict)
    """Cases that cannot happen on this path, each with the reason."""
    slow: bool = False
    tells_all: bool = False
    """Whether anything that is wrong is a failure here, whatever the policy lets through."""
    rules: Collection[str] = tuple(RULES)
    """The rules that this path is tried with."""


def check(path: Path, case: str, rule: str, found: Outcome) -> None:
    """Compare what a path made of a case with the table."""
    verdict, decisions = EXPECTED[case]
    decision = decisions[list(RULES).index(rule)]
    if path.tells_all and not verdict.good:
        decision = "refuse"
    if found.refused is not None:
        assert found.refused is (decision == "refuse"), (path.name, case, rule, found)
    if found.verdict is not None:
        assert found.verdict.startswith(verdict.value), (path.name, case, rule, found)
    if found.decision is not None:
        assert found.decision == decision, (path.name, case, rule, found)


def gaps(path: Path) -> list[str]:
    """What is wrong with the row of a path: a case without a reason, or a reason for no case."""
    unknown = [name for name in path.leaves_out if name not in EXPECTED]
    silent = [name for name, reason in path.leaves_out.items() if len(reason.split()) < 4]
    return [*unknown, *silent]
