"""How files were cut in v0.1 is law: another cut is another content id, and another swarm."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.ids import ContentId
from p2phub.formats.planner import PLANNER
from p2phub.formats.tensors import Header
from p2phub.formats.weights import parse

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_pieces.py")))
RECORDED = json.loads((make.FOLDER / "recorded.json").read_text())


def test_the_planner_is_the_one_that_was_recorded():
    assert PLANNER == RECORDED["planner"] == 1
    assert set(RECORDED["files"]) == set(make.RECIPES)


@pytest.mark.parametrize("name", RECORDED["files"])
def test_todays_planner_cuts_the_files_of_v01_as_v01_did(name):
    recorded = RECORDED["files"][name]
    table = make.table_of(make.data_of(name))
    assert [table.length(index) for index in range(table.count)] == recorded["lengths"]
    assert table.content_id == ContentId.parse(recorded["content"])


def test_one_changed_byte_is_another_content_id():
    data = bytearray(make.data_of("safetensors"))
    data[-1] ^= 1
    assert str(make.table_of(bytes(data)).content_id) != RECORDED["files"]["safetensors"]["content"]


def test_the_heads_of_v01_mean_what_they_meant():
    assert make.head_of("safetensors") == make.safetensors_head()
    assert make.head_of("gguf") == make.gguf_head()
    spans = {}
    for name in ("safetensors", "gguf"):
        size = len(make.head_of(name)) + make.RECIPES[name][1]
        header = parse(make.head_of(name), size)
        assert isinstance(header, Header)
        spans[name] = [(t.name, t.start - header.length, t.stop - t.start) for t in header.tensors]
    assert spans == {
        "safetensors": [
            ("model.embed", 0, 1_572_864),
            ("model.bias", 1_572_864, 40_000),
            ("model.norm", 1_612_864, 50_000),
            ("model.scale", 1_662_864, 6),
            ("model.head", 1_662_870, 600_000),
        ],
        "gguf": [
            ("token_embd.weight", 0, 1_890_210),
            ("output_norm.weight", 1_890_240, 28),
            ("blk.0.bias", 1_890_304, 200),
            ("future", 1_890_560, 123_456),
        ],
    }
