"""The public documents of a publisher as one parcel: its papers, its newest head, its notices."""

from p2phub.errors import NotFoundError
from p2phub.formats.ids import PublisherId
from p2phub.formats.parcel import Parcel
from p2phub.node.desk import Desk, heard_head, heard_papers, own_papers
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed


def papers_of(desk: Desk, who: str | None) -> Papers:
    """The papers of a publisher: an alias, an id, or our own.

    Raises `NotFoundError` if nothing is known of it here, `UsageError` for what is neither.
    """
    documents = desk.store.documents
    own = documents.own_publisher()
    publisher = documents.aliases().resolve(who) if who is not None else own
    if publisher is None:
        raise NotFoundError(
            "this machine has no publisher identity", remedy="say whose: an alias or a publisher id"
        )
    found = own_papers(documents) if publisher == own else heard_papers(documents, publisher)
    if found is None:
        raise NotFoundError(
            f"nothing is known of publisher {publisher} here",
            remedy="pull one of its repos first, or give a file that `p2phub key export` wrote",
        )
    return found


def public_documents(desk: Desk, who: str | None) -> tuple[PublisherId, Parcel]:
    """Everything public about a publisher. Raises as `papers_of`."""
    papers = papers_of(desk, who)
    documents: list[Envelope] = list(papers.envelopes)
    head = heard_head(desk.store.documents, papers.publisher)
    if head is not None:
        documents.append(head.envelope)
    documents += (unpack(data) for data in desk.knowledge.notices(papers.publisher))
    return papers.publisher, packed(documents)
