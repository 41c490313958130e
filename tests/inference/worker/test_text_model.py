import json
from dataclasses import dataclass

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker.text_model import load_model
from tests.inference.worker.tiny_text import Files, save_tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@dataclass(frozen=True)
class Here:
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    threads: int = 1


def load(files, **options):
    spec = ModelSpec("0" * 64, "lab/tiny", "transformers", "text-generation", ())
    made = RunOptions(**options)
    return load_model(ModelSpec(spec.release, spec.name, "", "", (), made), files, Here())


def change(files: Files, **fields) -> Files:
    path = files.folder() / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: each for name, each in config.items() if each is not None}))
    return files


def test_what_the_release_says_is_what_is_known(tmp_path):
    loaded = load(save_tiny(tmp_path))
    assert (loaded.ends, loaded.limit) == ((1,), 256)
    assert loaded.width == len(loaded.tokenizer)
    assert not loaded.defaults.do_sample


def test_a_generation_config_of_the_release_says_how_tokens_are_drawn(tmp_path):
    files = save_tiny(tmp_path)
    said = {"do_sample": True, "temperature": 0.6, "eos_token_id": [1, 0]}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    loaded = load(files)
    assert (loaded.defaults.temperature, loaded.ends) == (0.6, (1, 0))


def test_a_missing_tensor_is_named_and_never_invented(tmp_path):
    files = save_tiny(tmp_path)
    del files.tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(MalformedError, match=r"lacks 1 tensors.*layers\.1\.mlp\.up_proj"):
        load(files)


def test_a_tensor_of_another_shape_is_an_error(tmp_path):
    files = save_tiny(tmp_path)
    files.tensors["model.norm.weight"] = files.tensors["model.norm.weight"][:32]
    with pytest.raises(MalformedError, match=r"model\.norm\.weight"):
        load(files)


def test_a_type_that_nobody_knows_is_named(tmp_path):
    with pytest.raises(UnsupportedError, match="'marvel'"):
        load(change(save_tiny(tmp_path), model_type="marvel"))


def test_a_type_that_generates_no_text_is_named(tmp_path):
    with pytest.raises(UnsupportedError, match="'clip'"):
        load(change(save_tiny(tmp_path), model_type="clip"))


def test_code_of_the_release_does_not_run_unless_it_may(tmp_path):
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    files = save_tiny(tmp_path)
    (tmp_path / "configuring.py").write_text(code)
    change(files, model_type="marvel", auto_map={"AutoConfig": "configuring.Marvel"})
    with pytest.raises(UnsupportedError) as told:
        load(files)
    assert "Python code" in told.value.message
    assert "trust" in told.value.remedy
    assert not ran.exists()


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class Marvel(LlamaConfig):
    model_type = "marvel"
class MarvelForCausalLM(LlamaForCausalLM):
    config_class = Marvel
"""


def test_code_of_the_release_that_may_run_is_that_of_the_folder(tmp_path):
    files = save_tiny(tmp_path)
    (tmp_path / "modeling.py").write_text(CODE)
    own = {"AutoConfig": "modeling.Marvel", "AutoModelForCausalLM": "modeling.MarvelForCausalLM"}
    change(files, model_type="marvel", auto_map=own)
    loaded = load(files, allow_remote_code=True)
    assert type(loaded.model).__name__ == "MarvelForCausalLM"


def test_a_folder_without_a_configuration_is_no_model(tmp_path):
    files = save_tiny(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(MalformedError, match=r"config\.json"):
        load(files)


def test_quantisation_that_cannot_be_done_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="int3"):
        load(save_tiny(tmp_path), quantize="int3")
