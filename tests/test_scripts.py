"""scripts/setup and its siblings fail with a sentence that names what is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLAIN = ("sh", "cat", "cksum", "dirname", "id", "uname", "tail", "rm", "mkdir", "mv", "sed")
OLD_PYTHON = '#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; esac\n'
NEW_PYTHON = (
    '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *--version*) echo Python 3.12 ;; esac\n'
)
USER = "#!/bin/sh\necho 1000\n"
APT = '#!/bin/sh\necho "apt-get $*" >>"$0.log"\n'


def is_benchmark(path: Path) -> bool:
    """Whether scripts/bench runs it, and others do not just import it."""
    return "--small" in path.read_text()


class Machine:
    """A copy of the scripts, on a machine that has only the commands it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder / "clone", folder / "bin"
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        self.commands.mkdir()
        for name in PLAIN:
            (self.commands / name).symlink_to(shutil.which(name))

    def has(self, name: str, text: str) -> None:
        (self.commands / name).unlink(missing_ok=True)
        (self.commands / name).write_text(text)
        (self.commands / name).chmod(0o755)

    def run(self, script: str, *words: str, **environ: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.folder / "scripts" / script, *words],
            env={"PATH": str(self.commands), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> list[str]:
        log = self.commands / "apt-get.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_no_python_and_no_debian(machine):
    run = machine.run("setup")
    assert run.returncode == 1
    assert "no Python 3.11 or newer" in run.stderr
    assert "python3-venv" in run.stderr


def test_old_python_and_no_right_to_install(machine):
    machine.has("python3", OLD_PYTHON)
    machine.has("apt-get", APT)
    machine.has("id", USER)
    run = machine.run("setup")
    assert run.returncode == 1
    assert 'Run "sudo apt-get install python3 python3-venv"' in run.stderr
    assert not machine.installed()


def test_root_gets_the_debian_packages_installed(machine):
    machine.has("python3", NEW_PYTHON)
    machine.has("apt-get", APT)
    machine.has("id", "#!/bin/sh\necho 0\n")
    run = machine.run("setup")
    assert run.returncode == 1
    assert machine.installed() == ["apt-get install -y -qq python3-venv"]
    assert "cannot make virtual environments" in run.stderr


def test_an_interpreter_that_does_not_run_is_named(machine):
    run = machine.run("setup", P2PHUB_PYTHON="/nowhere/python")
    assert run.returncode == 1
    assert "P2PHUB_PYTHON=/nowhere/python does not run" in run.stderr


def test_an_interpreter_that_was_named_is_used_as_it_is(machine):
    run = machine.run("setup", P2PHUB_PYTHON=sys.executable)
    assert run.returncode == 0
    assert not (machine.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("script", "word", "said"),
    [
        ("setup", "--with-everything", "--without-inference"),
        ("bench", "swimming", "transfer, swarm, revision"),
        ("bench", "--plot", "the name of a .png file"),
    ],
)
def test_a_word_it_does_not_know(machine, script, word, said):
    run = machine.run(script, word)
    assert run.returncode == 1
    assert word in run.stderr
    assert said in run.stderr


@pytest.mark.parametrize("script", ["check", "bench"])
def test_before_setup_it_names_setup(machine, script):
    run = machine.run(script)
    assert run.returncode == 1
    assert "scripts/setup" in run.stderr


@pytest.mark.parametrize("since", ["the same", "changed"])
def test_a_check_after_pyproject_changed_says_to_set_up_again(machine, since):
    python = machine.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    texts = [(machine.folder / name).read_bytes() for name in ("pyproject.toml", "scripts/setup")]
    summed = subprocess.run(["cksum"], input=b"".join(texts), capture_output=True, check=True)
    stamp = summed.stdout.decode().strip() if since == "the same" else "1 2"
    (machine.folder / ".venv" / "setup.stamp").write_text(f"{stamp} inference,dev\n")
    run = machine.run("check")
    assert run.returncode == 0
    assert ("run it again" in run.stderr) == (since == "changed")


@pytest.mark.parametrize(
    "benchmark",
    sorted(path.stem for path in ROOT.glob("scripts/benchmarks/*.py") if is_benchmark(path)),
)
@pytest.mark.slow
def test_benchmarks_run(benchmark):
    if benchmark in ("gateway", "web_seed") and shutil.which("nginx") is None:
        pytest.skip("nginx is not installed here")
    run = subprocess.run(
        [ROOT / "scripts" / "bench", "--small", "--json", benchmark],
        env={**os.environ, "P2PHUB_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert '"baseline"' in run.stdout


@pytest.mark.slow
def test_the_table_for_a_gpu_is_printed_for_a_processor_too():
    pytest.importorskip("transformers", reason="the extra `inference` is not installed")
    run = subprocess.run(
        [ROOT / "scripts" / "bench-gpu", "--small", "--json"],
        env={**os.environ, "P2PHUB_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = {row["what"]: row for row in map(json.loads, run.stdout.splitlines())}
    for what in ("verified loading", "1 streams", "2 streams"):
        assert rows[what]["value"] > 0
        assert rows[what]["baseline"] > 0
    assert rows["first token, warm"]["value"] > 0


@pytest.mark.slow
def test_the_quickstart_shows_a_model_that_came_from_a_peer():
    pytest.importorskip("transformers", reason="the extra `inference` is not installed")
    run = subprocess.run(
        [ROOT / "scripts" / "quickstart"],
        env={**os.environ, "P2PHUB_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "verified" in run.stdout
    assert "The bytes that computed this: release " in run.stdout
    cosines = [float(line.split()[0]) for line in run.stdout.splitlines() if " | " in line]
    alike, unlike = cosines[:2]
    assert alike > 0.5 > unlike


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name the folder to write"),
        (["full"], "full is not empty"),
        (["new", "--from", "nowhere"], "nowhere is no folder"),
        (["new", "--index", "x"], '"--index" is no option'),
        (["new", "--extra"], "--extra wants a value"),
        (["new", "other"], "one folder only"),
    ],
)
def test_a_wheelhouse_that_cannot_be_made_says_why(tmp_path, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept").touch()
    done = subprocess.run(
        [ROOT / "scripts/wheelhouse", *words],
        env=os.environ | {"P2PHUB_PYTHON": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["kept"]
