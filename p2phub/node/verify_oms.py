"""Check files against a model signature (OpenSSF Model Signing), step by step, with no network.

    1 model.sig   it is there and reads as a statement about files
    2 publisher   whose keys count: of whoever was named, or of the publisher that it claims, if
                  that one is pinned here or is this machine's own; or the key that was given
    3 key         it was made with a key that the publisher's current delegation certifies
    4 signature   it is the signature of the statement
    5 taken back  the publisher has taken back none of these files since (of a release, the gate
                  has said so before)
    6 file …      every file has the digest that was signed
    7 no others   nothing else lies beside them
    8 files       all of them are here

A file that is not here is not a pass, unless `partial` allows it; then the verdict says how many
were compared.
"""

from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import MalformedError, NotFoundError, UntrustedError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.oms import Statement
from p2phub.formats.paths import FilePath
from p2phub.formats.sigstore import Bundle
from p2phub.node.compare_signed import Allowed, compare
from p2phub.node.events import Report, Verifying
from p2phub.node.knowledge import Knowledge
from p2phub.node.signed_files import FolderFiles, ReleaseFiles, SignedFiles
from p2phub.node.step_list import StepList, Stopped
from p2phub.node.taken_back import require_not_taken_back
from p2phub.node.values import StepTaken, Verification
from p2phub.store.digests import read_small
from p2phub.store.store import Store
from p2phub.trust.history import PublisherState
from p2phub.trust.model_keys import from_pem, hint
from p2phub.trust.model_signatures import Checked, check
from p2phub.trust.refusals import verdict_of
from p2phub.trust.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What is to be checked, and whose signature counts."""

    target: str
    """A folder, or the reference of a release on this disk."""
    signature: Path | None = None
    """The file with the signature; None: `model.sig` beside the files."""
    key: bytes | None = None
    """A public key in PEM, the only one that counts then."""
    publisher: str | None = None
    """An alias or a publisher id."""
    ignore: tuple[str, ...] = ()
    """Files and folders, below the folder, that may be there unsigned."""
    allow_symlinks: bool = False
    partial: bool = False
    """Whether files may be missing."""

    @property
    def allowed(self) -> Allowed:
        paths = (tuple(text.strip("/").split("/")) for text in self.ignore)
        return Allowed(tuple(_plain(path) for path in paths), self.partial)


def _plain(path: FilePath) -> FilePath:
    return tuple(part for part in path if part != ".")


class ModelVerifier:
    """Checks one target after another against what one store knows."""

    def __init__(self, store: Store, knowledge: Knowledge, now: int) -> None:
        self._store, self._knowledge, self._now = store, knowledge, now

    def check_folder(self, asked: ModelCheck, report: Report) -> Verification:
        """Compare the files of a folder with their model signature.

        What is wrong is in the answer. Raises `UsageError` for a key that is none,
        `NotFoundError` for an alias that is not pinned or a signature file that was named and is
        not there.
        """
        folder = FolderFiles(Path(asked.target), asked.signature, follow=asked.allow_symlinks)
        return self._check(folder, asked, None, report)

    def check_release(
        self, publisher: PublisherId, digest: bytes, called: str, asked: ModelCheck, report: Report
    ) -> Verification:
        """The same for a release on this disk, which passes the gate first."""
        try:
            self._knowledge.state(publisher)
            self._knowledge.expect(digest, publisher)
            accepted = self._knowledge.document(digest, Release)
        except UntrustedError as error:
            step = StepTaken("release", False, error.message, 1)
            return Verification(called, verdict_of(error).value, None, (step,))
        if accepted is None or not isinstance(accepted.document, Release):
            raise NotFoundError(
                f"the manifest of {called} is not on this disk", remedy="`p2phub pull` fetches it"
            )
        files = ReleaseFiles(self._store, accepted.document, called, asked.signature)
        return self._check(files, asked, publisher, report)

    def _check(
        self, source: SignedFiles, asked: ModelCheck, owner: PublisherId | None, report: Report
    ) -> Verification:
        """All the steps. `owner`: whose release the files are, if of one."""
        report(Verifying(source.called))
        steps, compared = StepList(), ""
        state: PublisherState | None = None
        signer: tuple[str, ...] = ()
        try:
            bundle, claimed = _read(source, asked, steps)
            keys, state = self._keys(asked, owner, claimed, steps)
            signed = _signed(bundle, keys, steps)
            statement, signer = signed.statement, (signed.key.hex(),)
            if state is not None and owner is None:  # a release has passed the gate already
                self._not_taken_back(state, statement, steps)
            here = compare(statement, source, asked.allowed, steps, report)
            if here < len(statement.files):
                compared = f", {here} of {len(statement.files)} files"
        except Stopped:
            pass
        fresh_until = state.fresh_until if state is not None else None
        judged = Judgement.of((), fresh_until, self._now)
        good = steps.verdict is Verdict.VERIFIED
        return Verification(
            source.called,
            judged.text + compared if good else steps.verdict.value,
            judged.stale_since if good else None,
            tuple(steps.taken),
            publisher_id=str(state.publisher) if state is not None else "",
            signed_by=signer,
            fresh_until=fresh_until,
        )

    def _keys(
        self, asked: ModelCheck, owner: PublisherId | None, claimed: Statement, steps: StepList
    ) -> tuple[tuple[bytes, ...], PublisherState | None]:
        """The keys that count, and the publisher that certified them, unless a key was given."""
        if asked.key is not None:
            key = from_pem(asked.key)
            steps.passed("publisher", f"not asked: the key {hint(key)[:16]}… was given")
            return (key,), None
        publisher = self._publisher(asked, owner, claimed.publisher, steps)
        try:
            state = self._knowledge.state(publisher)
        except UntrustedError as error:
            steps.refuse("publisher", error)
        called = self._called(publisher)
        if state is None:
            said = f"nothing of {called} is on this disk; `p2phub pull` something of theirs first"
            steps.stop("publisher", said, Verdict.UNTRUSTED_KEY)
        if state.forked:
            steps.stop("publisher", f"{called} has forked: {state.forked}", Verdict.FORKED)
        delegation = state.identity.delegation
        keys = delegation.oms_keys
        said = f"{called}, whose delegation {delegation.version} certifies {len(keys)} keys"
        steps.passed("publisher", said)
        return keys, state

    def _publisher(
        self,
        asked: ModelCheck,
        owner: PublisherId | None,
        claimed: PublisherId | None,
        steps: StepList,
    ) -> PublisherId:
        """Whose signature it must be. What it claims itself only chooses among those we know."""
        documents = self._store.documents
        if asked.publisher is not None:
            owner = documents.aliases().resolve(asked.publisher)
        if owner is not None:
            if claimed not in (None, owner):
                said = f"it says that it is {claimed}'s, not {self._called(owner)}'s"
                steps.stop("publisher", said, Verdict.UNTRUSTED_KEY)
            return owner
        if claimed is None:
            said = "it names no publisher; --publisher or --oms-key says whose signature counts"
            steps.stop("publisher", said, Verdict.UNTRUSTED_KEY)
        if claimed != documents.own_publisher() and documents.aliases().alias_of(claimed) is None:
            said = f"it says that it is {claimed}'s, who is not pinned here; see `p2phub trust add`"
            steps.stop("publisher", said, Verdict.UNTRUSTED_KEY)
        return claimed

    def _not_taken_back(self, state: PublisherState, statement: Statement, steps: StepList) -> None:
        try:
            require_not_taken_back(self._store, self._knowledge, state, statement)
        except UntrustedError as error:
            steps.refuse("taken back", error)
        steps.passed("taken back", "nothing of it, as far as this disk knows")

    def _called(self, publisher: PublisherId) -> str:
        return self._store.documents.aliases().alias_of(publisher) or str(publisher)


def _read(source: SignedFiles, asked: ModelCheck, steps: StepList) -> tuple[Bundle, Statement]:
    try:
        with source.opened_signature() as (fd, path):
            data = read_small(fd, limits.MAX_OMS, path)
        if data is None:
            raise MalformedError(f"{path} has more than {limits.MAX_OMS} bytes")
        bundle = Bundle.unpack(data)
        statement = Statement.from_payload(bundle.payload)
    except NotFoundError as error:
        if asked.signature is not None:
            raise
        steps.stop("model.sig", error.message, Verdict.UNSIGNED)
    except UntrustedError as error:
        steps.refuse("model.sig", error)
    by = f"{statement.algorithm} of {statement.method}"
    count = len(statement.files)
    steps.passed("model.sig", f"a statement about {count} files of {statement.name!r}, by {by}")
    return bundle, statement


def _signed(bundle: Bundle, keys: tuple[bytes, ...], steps: StepList) -> Checked:
    try:
        checked = check(bundle, keys)
    except UntrustedError as error:
        steps.refuse("signature" if isinstance(error, WrongBytesError) else "key", error)
    steps.passed("key", f"{hint(checked.key)[:16]}… is one of those that count")
    steps.passed("signature", "it is that of the statement")
    return checked
