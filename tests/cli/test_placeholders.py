"""A Git LFS pointer or a web page in place of a file of a checkpoint is named, with the way out, by every command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny
from tests.cli.conftest import Nlpx

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 411577189\n"
PAGE = "\n<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
FILES = (
    *("config.json", "vocab.txt", "tokenizer_config.json", "tokenizer.json", "modules.json", "added_tokens.json"),
    *("spiece.model", "model.safetensors", "pytorch_model.bin"),
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny.bert(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("command", ["inspect", "embed"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (POINTER, "a Git LFS pointer (411 MB are not here)", "git lfs pull; or download the file itself"),
        (PAGE, "an HTML page", "fetch the file again"),
    ],
    ids=["pointer", "page"],
)
def test_it_is_named(checkpoint, nlpx: Nlpx, command, name, content, said, hint):
    weights = checkpoint / "model.safetensors"
    if name == "pytorch_model.bin":
        weights.unlink()
    if name == "spiece.model":
        (checkpoint / "vocab.txt").unlink()
    (checkpoint / name).write_text(content, encoding="utf-8")
    texts = checkpoint.parent / "texts.txt"
    texts.write_text("春风\n", encoding="utf-8")
    words = {
        "inspect": ["inspect", str(checkpoint)],
        "embed": ["embed", str(texts), "--model", str(checkpoint), "--out", str(checkpoint.parent / "v.npy")],
    }[command]
    done = nlpx(*words)
    assert (done.code, done.out) == (3, "")
    assert f"Error: {checkpoint / name} is {said}\n" in done.err
    assert hint in done.err


def test_a_pointer_that_nothing_reads_is_no_fault(checkpoint, nlpx: Nlpx):
    """After `git lfs pull --include '*.safetensors'` the other weights are pointers still."""
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "pytorch_model.bin").write_text(POINTER, encoding="utf-8")
    assert nlpx("inspect", str(checkpoint)).code == 0


def test_a_tensorflow_bundle(tmp_path, nlpx: Nlpx):
    tiny.bert(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        (tmp_path / "model" / name).write_text(POINTER, encoding="utf-8")
    done = nlpx("inspect", str(tmp_path / "model"))
    assert done.code == 3
    assert "is a Git LFS pointer" in done.err
