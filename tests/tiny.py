"""Rows, vocabularies and checkpoints small enough to train and convert in a test, for tests only."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from foreign_tokenizers import sentencepiece_model

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = list("春夏秋冬风雨雷电山川湖海日月星云花草树木鱼鸟虫兽东南西北")
VOCAB = SPECIAL + CHARACTERS
VARIANTS = ("ssA", "ssB", "slA", "slB", "llA", "llB")
FOLDERS = ("短短匹配A类", "短短匹配B类", "短长匹配A类", "短长匹配B类", "长长匹配A类", "长长匹配B类")

# A new model of a few thousand numbers, two passes over the rows.
SMALL = (
    "model.name=new",
    "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16, vocab_size: 60}",
    "task_options.condition_size=4",
    "data.max_length=24",
    "train.epochs=2",
    "train.batch_tokens=160",
    "train.log_every=1",
)
SIZES: dict[str, Any] = {
    "vocab_size": len(VOCAB),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
}


def settings(*overrides: str) -> list[str]:
    """`--set` for each."""
    return [word for override in overrides for word in ("--set", override)]


def rows(count: int, *, variants: Iterable[str] = VARIANTS, seed: int = 0) -> list[dict[str, Any]]:
    """Labelled pairs: a text and itself, or a text and another one; every second matches."""
    chance, names, made = random.Random(seed), list(variants), []
    for number in range(count):
        variant = names[number // 2 % len(names)]
        source = "".join(chance.choices(CHARACTERS, k=chance.randint(3, 9)))
        other = "".join(chance.choices(CHARACTERS, k=chance.randint(3, 9)))
        label = number % 2
        row = {"id": f"r{number}", "source": source, "target": source if label else other, "variant": variant}
        made.append(row | {f"label{variant[-1]}": label})
    return made


def labelled(count: int, *, labels: Iterable[Any] = ("天气", "动物", "方位"), seed: int = 0) -> list[dict[str, Any]]:
    """Texts with a label each, in turn; a text is mostly made of the characters of its label's part of the list."""
    chance, names, made = random.Random(seed), list(labels), []
    share = len(CHARACTERS) // len(names)
    for number in range(count):
        part = number % len(names)
        own = CHARACTERS[part * share : (part + 1) * share]
        text = "".join(chance.choices(own, k=6) + chance.choices(CHARACTERS, k=2))
        made.append({"id": f"r{number}", "text": text, "label": names[part]})
    return made


def write_rows(path: Path, content: Iterable[Any]) -> Path:
    """JSON lines; a text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in content]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def contest(folder: Path, *, names: Iterable[str] = FOLDERS, count: int = 16) -> Path:
    """The contest's layout: train.txt, valid.txt and an unlabelled test_with_id.txt in each folder."""
    for name in names:
        label = f"label{name[-2]}"
        made = [
            {"source": row["source"], "target": row["target"], label: str(number % 2)}
            for number, row in enumerate(rows(count, seed=len(name)))
        ]
        unlabelled = [
            {"id": f"{name}{n}", **{k: v for k, v in row.items() if k != label}} for n, row in enumerate(made)
        ]
        write_rows(folder / name / "train.txt", made)
        write_rows(folder / name / "valid.txt", made[:6])
        write_rows(folder / name / "test_with_id.txt", unlabelled[:4])
    return folder


def write_vocab(folder: Path, entries: Iterable[str] = VOCAB) -> Path:
    """`vocab.txt` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    return folder


def checkpoint(folder: Path, config: str, model: str, *, vocab: Iterable[str] = VOCAB, **sizes: Any) -> Any:
    """A transformers model with random weights, biases and norms, saved with its vocabulary; returns it."""
    import transformers

    chosen = ({} if "GPT2" in config else SIZES) | sizes
    torch.manual_seed(1)
    made = getattr(transformers, model)(getattr(transformers, config)(**chosen)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:  # RoFormer's sinusoid table is a frozen parameter
                parameter.normal_(std=0.2)
    made.save_pretrained(folder)
    write_vocab(folder, vocab)
    return made


def bert(folder: Path, model: str = "BertForMaskedLM", **sizes: Any) -> Any:
    """A tiny BERT."""
    return checkpoint(folder, "BertConfig", model, **sizes)


def mt5(folder: Path) -> None:
    """A tiny mT5 as it is published: more rows than pieces, and a vocabulary product with a matrix of its own."""
    import sentencepiece
    import transformers
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    model = sentencepiece_model(500, byte_fallback=True, user_defined_symbols=["▁<extra_id_0>"], **special)
    (folder / "spiece.model").write_bytes(model)
    rows = len(sentencepiece.SentencePieceProcessor(model_proto=model)) + 12
    torch.manual_seed(0)
    config = transformers.MT5Config(vocab_size=rows, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=2)
    transformers.MT5ForConditionalGeneration(config).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors") | {"lm_head.weight": torch.randn(rows, 16)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def metrics(run: Path) -> list[dict[str, Any]]:
    """The records of a run without what differs from time to time."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
