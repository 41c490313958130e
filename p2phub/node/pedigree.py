"""What is told of an answer: which release it is of, who signed it, and what that is worth.

An adapter answers with two releases, of two publishers perhaps: it is told as the adapter's, with
the worse of the two verdicts, and the base beside it.

>>> worse(Judgement(Verdict.VERIFIED), Judgement(Verdict.STALE, 0)).text
'verified, stale since 1970-01-01T00:00:00Z'
"""

from p2phub.inference.engine import Engine
from p2phub.node.models import Model
from p2phub.node.served import Served
from p2phub.trust.policy import Rule
from p2phub.trust.verdict import Judgement, Verdict

_VERDICTS = tuple(Verdict)
_POLICIES = ("enforce", "warn", "off")


def served(engine: Engine, model: Model) -> Served:
    """A model, or an adapter on it, held for one request."""
    adapter = model.adapter
    resolved = model.resolved
    made = Served(
        engine=engine,
        release=model.digest,
        publisher=str(resolved.repo.publisher),
        verdict=judgement_of(model).text,
        name=model.name,
        policy=_weaker(model.rule, model.rule if adapter is None else adapter.rule),
    )
    if adapter is None:
        return made
    return Served(
        engine=engine,
        release=adapter.digest,
        publisher=str(adapter.resolved.repo.publisher),
        verdict=made.verdict,
        name=made.name,
        policy=made.policy,
        adapter=adapter.exact,
        base_release=made.release,
        base_publisher=made.publisher,
    )


def served_elsewhere(engine: Engine, model: str) -> Served:
    """A model of another server: nobody here knows what it is made of."""
    return Served(engine, release="", publisher="", verdict="unsigned", name=model, policy="off")


def judgement_of(model: Model) -> Judgement:
    """What the bytes that answer are worth."""
    own = model.resolved.judgement
    return own if model.adapter is None else worse(own, model.adapter.resolved.judgement)


def worse(one: Judgement, other: Judgement) -> Judgement:
    """The judgement that says less; of two that are stale, the older one."""
    return max(one, other, key=lambda each: (_VERDICTS.index(each.verdict), _age(each)))


def _age(judgement: Judgement) -> int:
    return 0 if judgement.stale_since is None else -judgement.stale_since


def _weaker(one: Rule, other: Rule) -> str:
    return max(one.policy, other.policy, key=_POLICIES.index)
