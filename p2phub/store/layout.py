"""Where everything lies: the home folder of a node, and the folder of its store.

    home/                     0700
      node.toml
      keys/                   0700   <name>.key, one seed each (`keyring`)
      run/                    0700   token, gateway: how a second command finds the running node
      audit.log                      what crossed the gate (`audit_log`)
      store/                         or the folder that node.toml names
        blobs/<xx>/<size>-<hex>      whole files, written once, 0444; <xx> = first digits of <hex>
        partial/<size>-<hex>/        a file that is being fetched: data, bitmap
        snapshots/<publisher>/<name>/<commit>/   folders of relative links to blobs
        upstream/                    files of another hub on their way here: data, what came of it
        quarantine/                  blobs that no longer match their digest
        temp/                        what nobody has a name for yet; emptied when the store opens
        journal/                     one empty file for each blob that is just being put or dropped
        index.db  lock  reserve

`home` and `store` are absolute, so that a later change of directory moves nothing. Only `make`
touches a disk. What the files hold is the other modules' business.

>>> layout = Layout.of(Path("/home/ann/.p2phub"), "store")
>>> str(layout.index)
'/home/ann/.p2phub/store/index.db'
>>> str(layout.blob(ContentId(5, bytes(32))))[-76:]
'/blobs/00/5-0000000000000000000000000000000000000000000000000000000000000000'
"""

from dataclasses import dataclass
from pathlib import Path

from p2phub.formats.ids import ContentId
from p2phub.store.disk import Disk


def blob_name(content: ContentId) -> str:
    """Where a blob lies below `blobs`: the folder and the name in it."""
    digest = content.digest.hex()
    return f"{digest[:2]}/{content.size}-{digest}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Every path of one node."""

    home: Path
    store: Path

    @classmethod
    def of(cls, home: Path, store: str | Path = "store") -> "Layout":
        """The layout of `home`; a relative `store` is meant from there."""
        home = home.expanduser().absolute()
        return cls(home, home / Path(store).expanduser())

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def audit(self) -> Path:
        return self.home / "audit.log"

    @property
    def gateway(self) -> Path:
        """The file with the URL of the running node's gateway."""
        return self.run / "gateway"

    @property
    def token(self) -> Path:
        """The file with the token that calls which change something need."""
        return self.run / "token"

    @property
    def blobs(self) -> Path:
        return self.store / "blobs"

    @property
    def partial(self) -> Path:
        return self.store / "partial"

    @property
    def snapshots(self) -> Path:
        return self.store / "snapshots"

    @property
    def quarantine(self) -> Path:
        return self.store / "quarantine"

    @property
    def upstream(self) -> Path:
        return self.store / "upstream"

    @property
    def temp(self) -> Path:
        return self.store / "temp"

    @property
    def journal(self) -> Path:
        return self.store / "journal"

    @property
    def index(self) -> Path:
        return self.store / "index.db"

    @property
    def reserve(self) -> Path:
        """Bytes that are given up when the disk is full."""
        return self.store / "reserve"

    @property
    def lock(self) -> Path:
        return self.store / "lock"

    def blob(self, content: ContentId) -> Path:
        """Where the whole file `content` lies once it is complete."""
        return Path(self.blob_text(content))

    def blob_text(self, content: ContentId) -> str:
        """The same as text, for whoever asks about thousands."""
        return f"{self.store}/blobs/{blob_name(content)}"

    def make(self, disk: Disk) -> None:
        """Create what is missing; home, keys and run are closed to everybody else."""
        for folder in (self.home, self.keys, self.run):
            disk.make_private_folder(folder)
        for folder in (
            self.blobs,
            self.partial,
            self.snapshots,
            self.quarantine,
            self.upstream,
            self.temp,
            self.journal,
        ):
            disk.make_folder(folder)
