"""Fetch a release from whoever has it, verify every byte, and print the folder.

What was verified stays when a pull is interrupted; the next one goes on from there. Files that run
code when they are loaded (pickles) are skipped unless --include names them.

With --layout hf the files also stand in a Hugging Face cache (the one that huggingface_hub uses, or
--to DIR), as links to this node's store: transformers and the others find lab/name there, also with
HF_HUB_OFFLINE=1. Remove it there with `hf cache rm` before you remove it here with `p2phub rm`.

With --layout oci the files are layers of a model (CNCF ModelPack) in an OCI image layout, --to DIR:
`skopeo copy oci:DIR:lab/name:main docker://…` takes it to a registry. With --layout ollama the GGUF
file stands among Ollama's models (--to, or $OLLAMA_MODELS, or ~/.ollama/models), for `ollama run
p2phub/lab/name:main`.
"""

import argparse
from pathlib import Path
from typing import Any

from p2phub.cli.output import size
from p2phub.cli.progress import follow
from p2phub.cli.session import Session
from p2phub.cli.trust_changes import pin_one_who_claims
from p2phub.errors import NotFoundError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision] or p2p://…")
    parser.add_argument("--to", metavar="DIR", type=Path, help="a folder for writable copies")
    parser.add_argument(
        "--layout",
        choices=("folder", "hf", "oci", "ollama"),
        help="a Hugging Face cache, an OCI image layout, or Ollama's models, instead of a folder",
    )
    parser.add_argument(
        "--include", metavar="GLOB", action="append", default=[], help="only these files"
    )
    parser.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="but not these"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.pull(
        arguments.reference,
        to=arguments.to,
        layout=arguments.layout,
        include=arguments.include,
        exclude=arguments.exclude,
    )
    with session.node() as node:
        try:
            done = follow(node.events(call), session.output, "pulling", promised=True)
        except NotFoundError:
            if not pin_one_who_claims(session, node, arguments.reference):
                raise
            done = follow(node.events(call), session.output, "pulling", promised=True)
    if session.output.json:
        session.output.record(done)
        return 0
    session.output.say(_summary(done))
    session.output.line(done["path"])
    return 0


def _summary(done: Any) -> str:
    sources = f"{done['sources']} source" + "s" * (done["sources"] != 1)
    fetched = f"{size(done['bytes_fetched'])} from {sources} in {done['seconds']:.1f} s"
    here = f"{size(done['bytes_linked'])} already here"
    return f"{done['ref']} {done['commit'][:12]} {done['verdict']}: {fetched}, {here}"
