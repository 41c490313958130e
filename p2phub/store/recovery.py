"""What a start does about blobs that were just being put or dropped when the last process ended.

Only the journal is looked at, so that a start costs the same for any number of blobs. A file that
was renamed and has no row goes back to being a partial with every piece claimed: the next pull
verifies it and commits it, and nothing is fetched again. If its piece table is not known (an ingest
that did not finish) it is removed. Where a file was dropped, its row goes too.
"""

import os

from p2phub.store.blobs import Blobs
from p2phub.store.disk import Disk
from p2phub.store.journal import Journal
from p2phub.store.layout import Layout
from p2phub.store.partials import Partials


def recover(layout: Layout, disk: Disk, blobs: Blobs, partials: Partials) -> None:
    """Finish or undo what the journal says was begun. Needs the store's lock."""
    journal = Journal(layout, disk)
    for action, content in list(journal.unfinished()):
        path = layout.blob(content)
        if os.path.lexists(path) and not blobs.known(content):
            if blobs.table(content) is not None:
                partials.take_back(content)
            else:
                disk.remove(path)
        blobs.has(content)  # drops the row of a file that is gone
        if action == "drop" and blobs.place(content):
            blobs.remove(content)  # its file is a person's, and stays
        journal.end(action, [content])
    for left in layout.temp.iterdir():
        disk.remove_tree(left)
    partials.recover()
