"""The model signature of v0.1 is law: it verifies, and means what it meant."""

import hashlib
import runpy
from pathlib import Path
from types import SimpleNamespace

from p2phub.formats.sigstore import Bundle
from p2phub.trust.model_keys import from_pem, to_pem
from p2phub.trust.model_signatures import check

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_oms.py")))
PEM = (make.FOLDER / "public.pem").read_bytes()
SIGNED = Bundle.unpack((make.FOLDER / "model.sig").read_bytes())


def test_it_verifies_and_means_what_it_meant():
    assert check(SIGNED, [from_pem(PEM)]).statement == make.statement()


def test_todays_values_make_the_bytes_of_v01():
    assert make.statement().to_payload() == SIGNED.payload
    assert to_pem(make.key().public) == PEM


def test_the_key_is_named_as_it_was():
    assert hashlib.sha256(PEM).hexdigest() == SIGNED.hint


def test_the_file_is_written_as_it_was():
    assert SIGNED.pack() == (make.FOLDER / "model.sig").read_bytes()
