"""The main job, for real: one node publishes a model, another pulls it and computes with it.

Started by scripts/quickstart. It types what a person would type, `p2phub …`, for two homes whose
nodes share nothing but the loopback interface, prints each command, and stops both nodes at the
end, whatever happens. It fails with one sentence.
"""

import fcntl
import logging
import os
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from pathlib import Path

from loopback import FailedError, Home

SENTENCES = (
    "A cat sits on the windowsill and looks outside.",
    "The kitten watches the street through the window.",
    "The central bank raised its interest rates again.",
)


def say(text: str = "") -> None:
    print(text, flush=True)


def fresh(folder: Path) -> Home:
    """An empty home; what an earlier quickstart left there is removed."""

    def unlock(function, path, _) -> None:
        os.chmod(os.path.dirname(path), stat.S_IRWXU)
        function(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=unlock)
    return Home(folder, tell=lambda line: say(f"{folder.name:>6} $ {line}"))


def similarities(folder: Path) -> list[tuple[int, int, float]]:
    """The cosine of each pair of sentences, by the model in `folder`, with no network."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    logging.disable(logging.WARNING)  # of kernels for other machines, at import
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    words = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**words).last_hidden_state
    mask = words["attention_mask"].unsqueeze(-1)
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    cosine = means @ means.T
    return [(i, j, float(cosine[i, j])) for i, j in ((0, 1), (0, 2), (1, 2))]


def summary(steps: list[dict]) -> str:
    """How many steps of each kind held; a `FailedError` that names the first one that did not."""
    for step in steps:
        if not step["ok"]:
            raise FailedError(f"verification fails at {step['name']}: {step['detail']}")
    kinds = Counter(step["name"].partition(":")[0] for step in steps)
    return f"{len(steps)} steps held: " + ", ".join(f"{kinds[kind]} {kind}" for kind in kinds)


def publish_and_pull(model: Path, lab: Home, laptop: Home) -> tuple[dict, dict, dict]:
    """What `publish` said in the lab, and what `pull` and `info` said on the laptop."""
    identity = lab.type("init", "--name", "lab")
    laptop.type("init")
    with lab.node() as first, laptop.node(bootstrap=first.addresses[0]) as second:
        say(f"         the lab listens at    {first.addresses[0]}")
        say(f"         the laptop listens at {second.addresses[0]}")
        published = lab.type("publish", str(model), "minilm", "--message", "first")
        say(
            f"         {published['ref']}: {published['files']} files, {published['bytes']:,} bytes"
        )
        laptop.type("trust", "add", "lab", identity["publisher_id"])
        pulled = laptop.type("pull", "lab/minilm")
        say(
            f"         {pulled['bytes_fetched']:,} bytes from {pulled['sources']} peer(s) in"
            f" {pulled['seconds']:.1f} s; {pulled['verdict']}"
        )
        say(f"         {summary(laptop.type('verify', 'lab/minilm')['steps'])}")
        return published, pulled, laptop.type("info", "lab/minilm")


def check(published: dict, pulled: dict, information: dict) -> None:
    """The bytes that were pulled are the ones that were published, by whom we think."""
    if information["digest"] != published["digest"] or pulled["commit"] != published["commit"]:
        raise FailedError("the laptop pulled another release than the one the lab published")
    if information["publisher_id"] != published["publisher_id"]:
        raise FailedError("the pulled model was signed by somebody else")
    if pulled["verdict"] != "verified":
        raise FailedError(f"the verdict on the pulled model is: {pulled['verdict']}")
    if pulled["bytes_fetched"] < published["bytes"]:
        raise FailedError("some of the bytes did not come from the peer")


def demonstrate(model: Path, place: Path) -> None:
    started = time.monotonic()
    say("A lab and a laptop: two homes, two node processes, loopback only, multicast off.")
    lab, laptop = fresh(place / "lab"), fresh(place / "laptop")
    published, pulled, information = publish_and_pull(model, lab, laptop)
    check(published, pulled, information)
    say(f"\nCosine similarities, by the model in {pulled['path']}:")
    for first, second, cosine in similarities(Path(pulled["path"])):
        say(f"  {cosine:6.3f}  {SENTENCES[first]} | {SENTENCES[second]}")
    say(f"\nThe bytes that computed this: release {information['digest']},")
    say(f"signed by publisher {information['publisher_id']}, pinned here as lab.")
    say(f"\nDone in {time.monotonic() - started:.0f} s. Both nodes are stopped; look around:")
    say(f"  .venv/bin/p2phub --home {place}/laptop ls lab/minilm")
    say(f"  .venv/bin/p2phub --home {place}/laptop search sentence")


def stop(number: int, _: object) -> None:
    raise FailedError(f"stopped by signal {number}")


def main() -> int:
    model, place = Path(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            demonstrate(model, place)
        except BlockingIOError:
            say(f"quickstart: another quickstart is running in {place}; wait for it to end.")
        except FailedError as error:
            say(f"quickstart: {error}.")
        except KeyboardInterrupt:
            return 130
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
