"""Feeding documents to a gate, and what comes back: shared by the tests of what is taken back."""

import pytest

from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.refusals import Refusal

NOW = 1_800_000_000
FILES = {"README.md": b"hello", "model.safetensors": b"weights"}


def fed(*documents, catalog=None, rule=None):
    catalog = catalog or TrustedCatalog(*([lambda _: rule] if rule else []))
    for document in documents:
        catalog.offer(document if isinstance(document, bytes) else document.pack(), NOW)
    return catalog


def refusal(catalog, document):
    with pytest.raises(Refusal) as caught:
        catalog.offer(document if isinstance(document, bytes) else document.pack(), NOW)
    return caught.value


def verdict(catalog, document):
    try:
        return catalog.offer(document.pack(), NOW).judgement.verdict
    except Refusal as error:
        return error.verdict


def two_indexes(lab):
    one, _ = lab.sign_index(writer_seq=7, parents=(), seq=1)
    two, _ = lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)
    return one, two
