"""Folders of good files of every kind that nlpx reads, small, for tests that spoil them."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import shutil
from pathlib import Path

import numpy as np
import torch

import tf_bundle_writer
import tiny
import xiangqi_games
import xiangqi_samples
from nlpx_cli.__main__ import main

NEW = tiny.settings(*(setting for setting in tiny.SMALL if "condition_size" not in setting))
FAMILIES = {
    "albert": ("AlbertConfig", "AlbertForMaskedLM", {}),
    "electra": ("ElectraConfig", "ElectraForPreTraining", {}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2}),
    "roformer": ("RoFormerConfig", "RoFormerForMaskedLM", {}),
}


def make(name: str, folder: Path) -> None:
    """Fill a folder with the files of that name."""
    folder.mkdir(parents=True)
    if name in FAMILIES:
        texts(folder)
        config, model, sizes = FAMILIES[name]
        tiny.checkpoint(folder / "model", config, model, **sizes)
    else:
        globals()[f"make_{name}"](folder)


def texts(folder: Path) -> None:
    lines = ["春天来了", "今天天气很好，我们去公园看花。", "", "北京是中国的首都", "x", "１２３ ＡＢＣ"]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_rows(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    texts(folder)
    rows = tiny.labelled(24)
    tiny.write_rows(folder / "rows.jsonl", rows)
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    table = [["id", "text", "label"], *([row["id"], f'"{row["text"]}, ""x"""', row["label"]] for row in rows)]
    (folder / "rows.csv").write_text("".join(",".join(row) + "\n" for row in table), encoding="utf-8")
    (folder / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in table), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress((folder / "rows.jsonl").read_bytes()))
    (folder / "rows.csv.xz").write_bytes(lzma.compress((folder / "rows.csv").read_bytes()))
    tiny.write_rows(folder / "pairs.jsonl", tiny.rows(24))
    pairs = [f"{row['source']}\t{row['target']}\t{number % 5}" for number, row in enumerate(tiny.rows(24))]
    (folder / "pairs.tsv").write_text("\n".join(["text1\ttext2\tscore", *pairs]) + "\n", encoding="utf-8")
    counts = [("春天", 5), ("春风", 4), ("山川", 3), ("x", 1)]
    (folder / "counts.tsv").write_text("".join(f"{word}\t{count}\n" for word, count in counts), encoding="utf-8")
    tiny.write_rows(folder / "counts.jsonl", [{"word": word, "count": count} for word, count in counts])
    (folder / "words.txt").write_text("云计算 5 n\n区块链 10\n春天来了\n", encoding="utf-8")
    tiny.write_vocab(folder)


def make_arrays(folder: Path) -> None:
    np.save(folder / "emb.npy", np.random.default_rng(0).normal(size=(80, 8)).astype(np.float32))
    done = main(["whiten", str(folder / "emb.npy"), "--dim", "3", "-o", str(folder / "w.npy"),
                 "--save", str(folder / "map.safetensors"), "--quiet"])  # fmt: skip
    assert done == 0


def make_bert(folder: Path) -> None:
    texts(folder)
    tiny.bert(folder / "model")


def make_own(folder: Path) -> None:
    make_bert(folder)
    shutil.move(folder / "model", folder / "source")
    assert main(["convert", str(folder / "source"), str(folder / "model"), "--to", "nlpx", "--quiet"]) == 0


def make_torch(folder: Path) -> None:
    make_bert(folder)
    model = folder / "model"
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def make_tensorflow(folder: Path) -> None:
    make_bert(folder)
    shutil.move(folder / "model", folder / "source")
    from transformers import BertModel

    theirs = BertModel.from_pretrained(folder / "source").state_dict()
    named = {tensorflow_name(name): value.T if is_matrix(name) else value for name, value in theirs.items()}
    (folder / "model").mkdir()
    tf_bundle_writer.write_bundle(
        folder / "model" / "bert_model.ckpt", {name: value.numpy() for name, value in named.items()}
    )
    shutil.copy(folder / "source" / "config.json", folder / "model" / "bert_config.json")
    tiny.write_vocab(folder / "model")


def is_matrix(name: str) -> bool:
    return name.endswith("weight") and "embeddings" not in name and "LayerNorm" not in name


def tensorflow_name(name: str) -> str:
    name = re.sub(r"\.(\d+)\.", r"_\1.", name).replace("LayerNorm.weight", "LayerNorm.gamma")
    name = name.replace("LayerNorm.bias", "LayerNorm.beta")
    name = re.sub(r"embeddings\.weight$", "embeddings", name)
    return "bert/" + name.replace(".", "/").replace("/weight", "/kernel")


def make_parts(folder: Path) -> None:
    make_bert(folder)
    from safetensors.torch import load_file, save_file

    model = folder / "model"
    tensors = load_file(model / "model.safetensors")
    names = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(tensors)}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in tensors if names[name] == file}, model / file)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "model.safetensors").unlink()


def make_sentences(folder: Path) -> None:
    import sentence_transformers_folders

    make_bert(folder)
    generator = torch.Generator().manual_seed(0)
    dense = (torch.randn(8, 16, generator=generator), None, "torch.nn.modules.activation.Tanh")
    prompts = {
        "prompts": {"query": "问：", "passage": ""},
        "default_prompt_name": "query",
        "similarity_fn_name": "cosine",
    }
    sentence_transformers_folders.around(
        folder / "model", pooling={"pooling_mode_mean_tokens": True}, dense=dense, prompts=prompts, length=20
    )


def make_added(folder: Path) -> None:
    make_bert(folder)
    model, added = folder / "model", len(tiny.VOCAB)
    entry = {"content": "[CLS]", "lstrip": False, "normalized": False, "special": True}
    write = {
        "added_tokens.json": {"云计算": added, "[E1]": added + 1},
        "tokenizer_config.json": {"do_lower_case": True, "added_tokens_decoder": {"2": entry}, "model_max_length": 20},
        "special_tokens_map.json": {"cls_token": "[CLS]", "additional_special_tokens": ["[E1]"]},
    }
    for name, value in write.items():
        (model / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    shutil.rmtree(folder / "source", ignore_errors=True)
    tiny.bert(model, vocab_size=added + 4)


def make_other(folder: Path) -> None:
    import foreign_tokenizers

    texts(folder)
    foreign_tokenizers.checkpoint("xlm_roberta", folder / "model")


def make_pieces(folder: Path) -> None:
    import foreign_tokenizers

    make_other(folder)
    (folder / "model" / "tokenizer.json").unlink()
    (folder / "model" / "tokenizer_config.json").unlink()
    (folder / "model" / "sentencepiece.bpe.model").write_bytes(foreign_tokenizers.sentencepiece_model())


def make_run(folder: Path) -> None:
    data = tiny.write_rows(folder / "train.jsonl", tiny.labelled(24))
    tiny.write_rows(folder / "rows.jsonl", [{"text": row["text"]} for row in tiny.labelled(5)])
    words = ["finetune", "--task", "classify", "--data", str(data), *NEW, "--set", "model.new.vocab_size=200"]
    assert main([*words, "--out", str(folder / "run"), "--quiet"]) == 0


def make_presets(folder: Path) -> None:
    tiny.write_rows(folder / "rows.jsonl", tiny.labelled(24))
    done = "\n".join(
        [
            "# A preset of everything",
            "extends: finetune/classify-new",
            "data: {max_length: 24}",
            "train: &a {epochs: 2, steps: null, batch_tokens: 160, log_every: 1}",
            "optim: {name: adamw, learning_rate: 1.0e-3, wrappers: [layer_adaptation], schedule: {warmup_ratio: 0.1}}",
            "model:",
            "  name: new",
            "  new: {hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16, vocab_size: 200}",
            "tricks: {ema: {decay: 0.9}}",
        ]
    )
    (folder / "preset.yaml").write_text(done + "\n", encoding="utf-8")


def make_games(folder: Path) -> None:
    xiangqi_samples.write(folder)
    (folder / "gb.pgn").write_bytes(xiangqi_samples.pgn().encode("gb18030"))
    (folder / "moves.txt").write_text("".join(f"{moves}\n" for moves in xiangqi_samples.MOVES), encoding="utf-8")
    (folder / "chinese.txt").write_text("炮二平五 马8进7 马二进三\n兵七进一 炮2平3\n", encoding="utf-8")
    parts = {"title": "一局", "movelist": "77477062796780708979"}
    body = "".join(f"[DhtmlXQ_{name}]{value}[/DhtmlXQ_{name}]\n" for name, value in parts.items())
    (folder / "dhtmlxq.txt").write_text(f"[DhtmlXQ]\n{body}[/DhtmlXQ]\n", encoding="utf-8")
    xiangqi_games.write_samples(folder)
    xiangqi_samples.write(folder)
    xiangqi_games.save(xiangqi_games.model_of("moves"), folder / "tiny")
    (folder / "stdin").write_text("h2e2 h9g7\n\n炮二平五 马8进7\n", encoding="utf-8")


def make_engine(folder: Path) -> None:
    make_games(folder)
    commands = [
        "uci", "isready", "setoption name Temperature value 0.5", "position startpos moves h2e2 h9g7", "go depth 1",
        "position fen 3k5/9/9/9/9/9/9/9/4A4/3AK2R1 w - - 0 1 moves h0h9", "go nodes 10 movetime 5", "stop",
        "ucci", "banmoves h2e2", "position startpos", "go", "quit",
    ]  # fmt: skip
    (folder / "stdin").write_text("\n".join(commands) + "\n", encoding="utf-8")
