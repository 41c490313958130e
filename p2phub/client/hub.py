"""`Hub`: everything a node can do, for programs that block."""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from p2phub.client import calls
from p2phub.client.bundle_methods import BundleMethods
from p2phub.client.calls import Call
from p2phub.client.connection import Connection
from p2phub.client.lease import Lease
from p2phub.client.model_methods import ModelMethods
from p2phub.client.publish_methods import PublishMethods
from p2phub.client.results import (
    FileRow,
    Hit,
    Identity,
    PeerInfo,
    Progress,
    Published,
    Removed,
    RepoInfo,
    RepoRow,
    Status,
    Verification,
    read,
)
from p2phub.client.running import home_folder
from p2phub.client.trust_methods import TrustMethods

T = TypeVar("T")
OnProgress = Callable[[Progress], None]
log = logging.getLogger("p2phub")


class Hub(TrustMethods, PublishMethods, BundleMethods, ModelMethods):
    """A hub for models: the node that runs on this machine, or one of its own.

    The first call looks for the node that runs for `home`. If none does, a node is started as a
    child process on free ports; it stops at `close()`, at the end of a `with` block, or with this
    process. A `Hub` may be used from several threads.

    Args:
        home: the node's home folder; `P2PHUB_HOME` or `~/.p2phub` by default.
        url: the URL of a gateway, instead of a home folder.
        token: the token for that URL; found by itself for a node of this machine.

    Every method may raise any error of `p2phub.errors`, each with a `message` and a `remedy`. The
    usual ones are `RemoteError` (no node answers, the network failed), `NotFoundError`,
    `UntrustedError` (what came is not believed) and `UsageError`.

    >>> hub = Hub("/nowhere")          # nothing is started before the first call
    >>> hub.close()
    """

    def __init__(
        self,
        home: Path | str | None = None,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        self._lease = Lease(home_folder(home, os.environ), url, token)
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and stop the node that was started for it, if one was."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._lease.close()

    def pull(
        self,
        reference: str,
        *,
        to: Path | str | None = None,
        layout: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> Path:
        """Fetch and verify a release; return the folder with its files.

        Args:
            reference: `[publisher/]name[@revision]` or `p2p://…`.
            to: a folder that gets writable copies; by default the read-only snapshot is returned.
            layout: `hf` makes a Hugging Face cache of `to` (by default the one that huggingface_hub
                uses), with links to the node's store: `from_pretrained` finds it without a network.
                `oci` makes an OCI image layout of `to`, `ollama` puts the GGUF file among Ollama's
                models (`to`, by default where Ollama looks).
            include: glob patterns; only files that match one are fetched. Pickles must be named.
            exclude: glob patterns; files that match one are left out.
            progress: called now and then with bytes done and in all, and bytes a second.

        Raises `NotFoundError`, `UntrustedError` (and its kinds, such as `WrongBytesError`),
        `NoSpaceError`, `NoSourceError`. What was verified stays: the next pull goes on from there.
        """
        target = Path(to) if to is not None else None
        call = calls.pull(reference, to=target, layout=layout, include=include, exclude=exclude)
        return self._run(call, progress).path

    def read(self, reference: str, path: str, start: int, stop: int) -> bytes:
        """Some bytes of one file of a release, verified; what is not here is fetched.

        Only the pieces that hold them are fetched (of at most 1 MiB each); they stay on the node's
        disk, and a pull goes on from there.

        Args:
            reference: `[publisher/]name[@revision]` or `p2p://…`.
            path: the file, with slashes.
            start, stop: bytes, counted from 0, `stop` not included; at most 16 MiB a call.

        Raises `NotFoundError` (no such release or file), `UsageError` (no such range, or too much),
        and what a pull raises.
        """
        return self._run(calls.read_ranges(reference, path, [(start, stop)]))

    def load_tensors(
        self,
        reference: str,
        names: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        slices: Mapping[str, tuple[int, int, int]] | None = None,
        split: Mapping[str, int] | None = None,
        rank: int | None = None,
        world: int | None = None,
        progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Load tensors of a release from its safetensors files, without fetching the rest of them.

        Reads the headers, then fetches only the pieces that hold what is wanted, from the file
        that `model.safetensors.index.json` names, if there is one. Needs torch.

        Args:
            reference: `[publisher/]name[@revision]` or `p2p://…`.
            names: the tensors; None loads all.
            device: where they go, as torch names it.
            slices: tensor name → (dimension, start, stop): that part of it only, in elements.
            split: glob of names → dimension: of tensors that match, only the part of `rank` when
                the dimension is split evenly over `world` ranks. 0 fits column-parallel weights and
                their biases, 1 row-parallel weights; what matches nothing comes whole.
            rank, world: this process of a tensor-parallel group, and how many there are.
            progress: called now and then with bytes done and in all, for each file.

        Slices of dimension 0 fetch their own pieces only. Those of later dimensions are strided:
        every piece that one of their rows touches is fetched, and only the slice is held in memory.

        Returns torch tensors by name, in the order of `names`, each with memory of its own. Raises
        `NotFoundError` (no such release or tensor), `MalformedError` (a header that breaks a rule),
        `UsageError` (no such slice, dtype or device), and what a pull raises.
        """
        from p2phub.client.loading import Slices, load_tensors

        wanted = Slices(slices or {}, split or {}, rank, world)
        steps = load_tensors(reference, names, device=device, slices=wanted)
        answer: Any = None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                loaded: dict[str, Any] = end.value
                return loaded
            answer = self._run(call, progress)

    def publish(
        self,
        folder: Path | str,
        name: str,
        *,
        message: str = "",
        tag: str | None = None,
        kind: str = "model",
        sign_with: str | None = None,
        in_place: bool = False,
        rehash: bool = False,
        seeds: Sequence[str] = (),
        oms: bool = False,
        base: str | None = None,
        relation: str | None = None,
        progress: OnProgress | None = None,
    ) -> Published:
        """Sign the files of `folder` as a new release of the repo `name` and announce it.

        Args:
            folder: read once, file by file; nothing in it is changed. Also a snapshot in a Hugging
                Face cache, and a model of Ollama's: `ollama:llama3.2:1b` or its manifest file.
            name: the repo, without a publisher: one publishes as oneself.
            message: what changed, for people.
            tag: a tag that names this release from now on.
            kind: `model`, `dataset` or `space`.
            sign_with: the name of a release key; by default the node's own.
            in_place: keep no copy; the files are given out from where they lie. One that changes
                is given out no more.
            rehash: read every byte, also of files that look unchanged since the last time.
            seeds: web servers that have these files too, each the address of a folder or one
                with `{path}`, `{name}`, `{publisher}` or `{content}` in it. Without any, those of
                the last release stay; `["none"]` takes them away.
            oms: add a `model.sig` about all the files: a signature of OpenSSF Model Signing.
            base: the release that this one was made from, such as `org/model`; the digest of what
                it names now is signed. An adapter is served on that release only.
            relation: `adapter`, `finetune`, `merge` or `quantized`; by default the first for a
                folder with `adapter_config.json`, else the second.
            progress: called now and then with bytes done and in all.

        Raises `UsageError` (missing or empty folder, a path that must not reach a disk),
        `FileChangedError` (a file changed meanwhile), `NoSpaceError`, `NotFoundError` and
        `NoSourceError` (`base` is not known).
        """
        call = calls.publish(
            Path(folder),
            name,
            message=message,
            tag=tag,
            kind=kind,
            sign_with=sign_with,
            in_place=in_place,
            rehash=rehash,
            seeds=seeds,
            oms=oms,
            base=base,
            relation=relation,
        )
        return self._run(call, progress)

    def search(
        self,
        text: str = "",
        *,
        task: str | None = None,
        library: str | None = None,
        license: str | None = None,
        language: str | None = None,
        publisher: str | None = None,
        max_size: int | None = None,
        max_params: int | None = None,
        kind: str | None = None,
        tags: Sequence[str] = (),
        sort: str | None = None,
        limit: int | None = None,
    ) -> list[Hit]:
        """Search the local catalog; no network is used.

        Args:
            text: words to find in names, tags and descriptions; empty lists everything.
            task, library, license, language: what the card of a repo says.
            publisher: an alias or a full publisher id.
            max_size: bytes; larger releases are left out.
            max_params: numbers in the tensors of a model; larger ones are left out, and those whose
                publisher does not say how many they have.
            kind: `model`, `dataset` or `space`.
            tags: each must be one of its tags or languages, its task or its library.
            sort: `relevance`, `name`, `size` or `updated`.
            limit: at most this many hits.
        """
        return self._run(
            calls.search(
                text,
                task=task,
                library=library,
                license=license,
                language=language,
                publisher=publisher,
                max_size=max_size,
                max_params=max_params,
                kind=kind,
                tags=tags,
                sort=sort,
                limit=limit,
            )
        )

    def info(self, reference: str) -> RepoInfo:
        """What is known about a release. Raises `NotFoundError`."""
        return self._run(calls.info(reference))

    def ls(self) -> list[RepoRow]:
        """The repos on the node's disk."""
        return self._run(calls.repos())

    def files(self, reference: str) -> list[FileRow]:
        """The files of a release, with sizes in bytes and digests. Raises `NotFoundError`."""
        return self._run(calls.files(reference))

    def verify(
        self, reference: str | None = None, *, progress: OnProgress | None = None
    ) -> list[Verification]:
        """Read every byte of a release, or of all, and check it.

        What is wrong is told in the answer (`ok`, `verdict`, `steps`), not raised.
        """
        return self._run(calls.verify(reference), progress)

    def remove(self, reference: str) -> Removed:
        """Drop a release from the node's disk; tells the bytes freed. Raises `NotFoundError`."""
        return self._run(calls.remove(reference))

    def status(self) -> Status:
        """What the node is doing now."""
        return self._run(calls.status())

    def peers(self) -> list[PeerInfo]:
        """Who the node is connected to."""
        return self._run(calls.peers())

    def connect(self, address: str) -> PeerInfo:
        """Connect to a peer by its full multiaddr. Raises `RemoteError`."""
        return self._run(calls.connect(address))

    def id(self) -> Identity:
        """Who the node is."""
        return self._run(calls.identity())

    def _run(self, call: Call[T], progress: OnProgress | None = None) -> T:
        connection = self._connected()
        if call.raw:
            return call.read({"content": connection.content(call)})
        if not call.streams:
            return call.read(connection.answer(call))
        last: Mapping[str, Any] = {}
        for last in connection.events(call):
            heard(last, progress)
        return call.read(last)

    def _connected(self) -> Connection:
        node = self._lease.node()
        with self._lock:
            if self._connection is None or self._connection.node != node:
                # An older one may be in use by another thread; it closes when nobody has it.
                self._connection = Connection(node)
                weakref.finalize(self._connection, self._connection.http.close)
            return self._connection


def heard(event: Mapping[str, Any], progress: OnProgress | None) -> None:
    """Hand a progress to who wants it; log a warning of the node."""
    if event.get("event") == "progress" and progress is not None:
        progress(read(Progress, event))
    elif event.get("event") == "warning":
        log.warning("%s", event.get("message", ""))
