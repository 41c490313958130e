"""The releases kept in memory: by bytes, the newest first."""

from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.trust.recent import RecentReleases

LAB, OTHER = PublisherId(b"\x01" * 32), PublisherId(b"\x02" * 32)
RELEASE = Release(
    publisher=LAB.digest, name="demo", kind="model", created=0, files=(), total_size=0
)


def test_bytes_not_numbers_bound_what_is_kept():
    recent = RecentReleases(limit=100)
    for number in range(50):
        recent.keep(LAB, b"%d" % number, RELEASE, 10)
    kept = [number for number in range(50) if recent.get(LAB, b"%d" % number)]
    assert kept == list(range(40, 50))


def test_a_release_larger_than_everything_is_not_kept_and_pushes_out_the_rest():
    recent = RecentReleases(limit=100)
    recent.keep(LAB, b"small", RELEASE, 10)
    recent.keep(LAB, b"huge", RELEASE, 101)
    assert recent.get(LAB, b"huge") is None
    recent.keep(LAB, b"small", RELEASE, 100)
    assert recent.get(LAB, b"small")


def test_keeping_one_twice_counts_it_once():
    recent = RecentReleases(limit=100)
    for _ in range(20):
        recent.keep(LAB, b"one", RELEASE, 60)
    recent.keep(LAB, b"two", RELEASE, 40)
    assert recent.get(LAB, b"one")
    assert recent.get(LAB, b"two")


def test_a_release_is_its_publishers_only():
    recent = RecentReleases()
    recent.keep(LAB, b"one", RELEASE, 10)
    assert recent.get(OTHER, b"one") is None
