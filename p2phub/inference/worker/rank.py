"""`python -m p2phub.inference.worker.rank PARENT`: a process that shares a model with its worker.

Its first line of input says which part it has (`ranks.Plan`). It computes the steps that the worker
decides, and nothing of its own; it ends with it.

Rules it keeps:
 * it settles as a worker does, and so never outlives its parent;
 * an error that the worker meets too is told by the worker alone: this one ends, and says nothing
   to people but on stderr.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
import transformers

from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker.architecture import class_of
from p2phub.inference.worker.configuration import read_config
from p2phub.inference.worker.ranks import Plan, heard, join, part_of
from p2phub.inference.worker.surroundings import settle
from p2phub.inference.worker.text_batch import manager_of
from p2phub.inference.worker.text_ranks import BROKEN, follow


def main(arguments: Sequence[str]) -> NoReturn:
    """Take part until the worker says that it is over."""
    settle(int(arguments[0]))
    status = BROKEN
    try:
        _follow(sys.stdin.buffer.readline())
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def _follow(line: bytes) -> None:
    plan = Plan.unpack(line)
    torch.set_num_threads(plan.threads)
    transformers.utils.logging.disable_progress_bar()
    folder = Path(plan.folder)
    spec = ModelSpec("", plan.name, "transformers", "text-generation", ())
    config = read_config(folder, spec)
    kind = class_of(spec, folder, config, ("AutoModelForCausalLM",))
    join(plan)
    model = part_of(plan, kind, config)
    for descriptor in plan.files.values():
        os.close(descriptor)
    follow(manager_of(model, heard(), []))


if __name__ == "__main__":
    main(sys.argv[1:])
