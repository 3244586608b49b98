import os
import sys

import pytest

from nlpx.embed.kernels import CHOICE, prefer_wide_kernels

FLAGS = "fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl"
ZEN_5 = {"vendor_id": "AuthenticAMD", "cpu family": "26", "flags": FLAGS}


@pytest.fixture(autouse=True)
def _without_numpy(monkeypatch):
    monkeypatch.setenv(CHOICE, "")
    monkeypatch.delenv(CHOICE)
    monkeypatch.delitem(sys.modules, "numpy", raising=False)


def chosen(tmp_path, **changes):
    text = "".join(f"{key}\t: {value}\n" for key, value in (ZEN_5 | changes).items())
    (tmp_path / "cpuinfo").write_text(f"{text}\nvendor_id\t: another\n", encoding="ascii")
    prefer_wide_kernels(tmp_path / "cpuinfo")
    return os.environ.get(CHOICE)


def test_what_is_unknown_and_wide_takes_wide_kernels(tmp_path):
    assert chosen(tmp_path) == "SkylakeX"


@pytest.mark.parametrize(
    "changes", [{"vendor_id": "GenuineIntel"}, {"cpu family": "25"}, {"flags": "avx2 avx512f"}, {"flags": ""}]
)
def test_everything_else_is_left_alone(tmp_path, changes):
    assert chosen(tmp_path, **changes) is None


def test_neither_too_late_nor_against_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv(CHOICE, "Haswell")
    assert chosen(tmp_path) == "Haswell"
    monkeypatch.delenv(CHOICE)
    monkeypatch.setitem(sys.modules, "numpy", os)
    assert chosen(tmp_path) is None
    monkeypatch.delitem(sys.modules, "numpy")
    prefer_wide_kernels(tmp_path / "nowhere")
    assert CHOICE not in os.environ
