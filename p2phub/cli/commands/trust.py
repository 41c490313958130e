"""Who may say what: aliases of publishers, rules for them, and lists to hand on.

`trust add lab ID` pins the name lab to the publisher with that id, which its owner tells you by a
way you trust. From then on lab/… means releases that this publisher signed, and nobody else's.
`trust policy lab off|warn|enforce` lays down what is done with what is not signed as it should be;
`default` meets it like everybody. `trust policy lab --code allow` lets Python files of its models
run when one is loaded, which is refused otherwise. `trust export FILE` writes what is pinned here,
`trust import FILE` adds what is new in such a file. `trust check` asks the domains that publishers
claim whether they vouch for them, and `trust proof` prints what your own domain has to say for
that.

What weakens trust, and what a list would pin, is asked on a terminal and refused in a pipe.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from p2phub.cli import trust_changes, trust_lists
from p2phub.cli.progress import follow
from p2phub.cli.session import Session, as_objects
from p2phub.cli.trusting import COLUMNS, LOOKS, domain_of, trusted
from p2phub.errors import UsageError

_FORMS: Final = {
    "ls": "ls",
    "add": "add ALIAS ID|DOMAIN",
    "rm": "rm ALIAS",
    "policy": "policy ALIAS|ID [off|warn|enforce|default]",
    "export": "export FILE",
    "import": "import FILE",
    "check": "check [ALIAS|ID]",
    "proof": "proof [DOMAIN]",
}
_COUNTS: Final = {
    "ls": (0, 0),
    "add": (2, 2),
    "rm": (1, 1),
    "policy": (1, 2),
    "export": (1, 1),
    "import": (1, 1),
    "check": (0, 1),
    "proof": (0, 1),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "p2phub trust [options] " + " | ".join(_FORMS.values())
    parser.add_argument("verb", choices=tuple(_FORMS), help="what to do")
    parser.add_argument("words", metavar="…", nargs="*", help="as above")
    parser.add_argument(
        "--stale", choices=("warn", "refuse"), help="what to do when a publisher is silent"
    )
    parser.add_argument(
        "--code", choices=("refuse", "allow"), help="whether Python files of its models may run"
    )
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def run(arguments: argparse.Namespace, session: Session) -> int:
    _check(arguments)
    words: list[str] = arguments.words
    match arguments.verb:
        case "ls":
            _list(session)
        case "add":
            trust_changes.add(session, words[0], words[1])
        case "rm":
            trust_changes.remove(session, words[0], yes=arguments.yes)
        case "policy":
            wanted = words[1] if len(words) > 1 else None
            trust_changes.policy(
                session, words[0], wanted, arguments.stale, arguments.code, yes=arguments.yes
            )
        case "export":
            trust_lists.export_to(session, words[0])
        case "import":
            return trust_lists.import_from(session, Path(words[0]), yes=arguments.yes)
        case "check":
            _check_domains(session, words[0] if words else None)
        case "proof":
            _proof(session, words[0] if words else None)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    least, most = _COUNTS[arguments.verb]
    given, form = len(arguments.words), _FORMS[arguments.verb]
    if not least <= given <= most:
        count = str(least) if least == most else f"{least} or {most}"
        raise UsageError(
            f"`p2phub trust {arguments.verb}` takes {count} names, not {given}",
            remedy=f"Write `p2phub trust {form}`.",
        )
    if arguments.stale is not None and arguments.verb != "policy":
        raise UsageError("--stale belongs to a policy", remedy=f"See {_FORMS['policy']}.")
    if arguments.code is not None and arguments.verb != "policy":
        raise UsageError("--code belongs to a policy", remedy=f"See {_FORMS['policy']}.")


def _list(session: Session) -> None:
    from p2phub.client import calls

    answer = session.answer(calls.trust_list())
    if answer is not None:
        rows = list(answer["pins"])
    else:
        with session.offline() as offline:
            rows = as_objects(offline.trust_list())
    session.output.table(rows if session.output.json else [trusted(row) for row in rows], COLUMNS)


def _check_domains(session: Session, who: str | None) -> None:
    from p2phub.client import calls

    with session.node() as node:
        looks = list(follow(node.events(calls.trust_check(who)), session.output, "asking")["looks"])
    if session.output.json:
        session.output.table(looks, LOOKS)
        return
    session.output.table(
        [
            {
                **look,
                "domain": domain_of(look) or "claims no domain",
                "problems": "; ".join(look["problems"]),
            }
            for look in looks
        ],
        LOOKS,
    )


def _proof(session: Session, text: str | None) -> None:
    from p2phub.formats.ids import PublisherId
    from p2phub.trust.domains import WELL_KNOWN, proof_file, proof_text, read_domain, txt_name

    with session.offline() as offline:
        profile = offline.profile()
    said = text or profile.domain
    if said is None:
        raise UsageError(
            "which domain is to vouch for this publisher?",
            remedy="Write `p2phub trust proof DOMAIN`, or claim one: `p2phub id --domain DOMAIN`.",
        )
    domain, publisher = read_domain(said), PublisherId.parse(profile.publisher_id)
    proof = {
        "domain": domain,
        "publisher_id": str(publisher),
        "url": f"https://{domain}{WELL_KNOWN}",
        "file": proof_file(publisher),
        "record": txt_name(domain),
        "text": proof_text(publisher),
    }
    tell: Callable[[str], None] = session.output.line
    if session.output.json:
        session.output.record(proof)
        return
    session.output.say("one of these is enough:")
    tell(f"file   {proof['url']}")
    tell(proof["file"].strip())
    tell(f"TXT    {proof['record']}")
    tell(proof["text"])
    if profile.domain != domain:
        session.output.say(f"and claim it: `p2phub id --domain {domain}`")
