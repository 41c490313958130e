"""The piece table of a file that is being brought: what every piece of it is checked against."""

import contextlib
from collections.abc import Sequence

from p2phub.errors import NoSourceError, UntrustedError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import PieceTable, max_table_bytes
from p2phub.node.asking import first_right
from p2phub.node.doubts import Doubts
from p2phub.node.services import Services
from p2phub.protocol.ports import Source


async def table_of(
    services: Services, doubts: Doubts, file: FileEntry, sources: Sequence[Source]
) -> PieceTable:
    """The piece table that the content id of `file` names, from this disk or from whoever has it.

    A source that sends another one is passed over, and doubted from now on. Raises
    `WrongBytesError` if only such are left, `NoSourceError` if nobody has it.
    """
    name = "/".join(file.path)
    if not file.content.has_table:
        return PieceTable.for_small(file.content)
    with contextlib.suppress(UntrustedError):  # one that rotted here is fetched again
        here = await services.on_disk(services.store.blobs.table, file.content)
        if here is not None:
            return here

    async def ask(source: Source) -> PieceTable:
        data = await source.document(file.content.digest, max_table_bytes(file.size))
        try:
            table = PieceTable.unpack(data, file.content)
        except UntrustedError:
            if sha256(data) != file.content.digest:  # else its publisher has signed nonsense
                doubts.lied([source.name], file.content, f"the table of {name}")
            raise
        await services.on_disk(services.store.blobs.put_table, file.content, data)
        return table

    asked = await first_right(sources, ask)
    doubts.was_slow(source.name for source in asked.late)
    if asked.answers:
        return asked.answers[0][1]
    if asked.lies:
        raise WrongBytesError(
            f"{name}: the piece table that was delivered is not the one that was signed",
            remedy="pull again when another peer has it",
        ) from asked.lies[-1]
    raise NoSourceError(f"{name}: nobody reachable has its piece table")
