"""Tokenizer directories that are not BERT's, trained on a few sentences, for tests only."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = [
    "今天天气很好，我们去公园看花。",
    "北京是中国的首都，上海是最大的城市。",
    "他在家看书，她去公司上班。",
    "The weather is nice today, and we read books.",
    "天气预报说明天下雨，不去公园了。",
]
TEXTS = [
    "今天天气很好",
    "北京下雨了，the weather is bad",
    " 两边 有空格  ",
    "未知字𠮷与😀，以及 naïve café",
    "１２３ ＡＢＣ 全角",
    "x",
    "",
]
ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}


def sentencepiece_model(size: int = 150, **options: Any) -> bytes:
    """A Unigram model with the special pieces of XLM-R's file, unless `options` say otherwise."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_writer=written,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **({"unk_id": 0, "bos_id": 1, "eos_id": 2} | options),
    )
    return written.getvalue()


def xlm_roberta_file(folder: Path) -> Path:
    """A directory with nothing but `sentencepiece.bpe.model` and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(sentencepiece_model())
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
    return folder


def xlm_roberta(folder: Path) -> Path:
    """Unigram, `<s> a </s></s> b </s>`: XLM-R and BGE-M3."""
    from transformers import XLMRobertaTokenizer

    XLMRobertaTokenizer.from_pretrained(xlm_roberta_file(folder)).save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").unlink(missing_ok=True)
    assert (folder / "tokenizer.json").is_file()
    return folder


def modern_bert(folder: Path) -> Path:
    """Byte-level BPE, `[CLS] a [SEP] b [SEP]`, as ModernBERT has it."""
    names = {name: f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    backend = byte_level(list(names.values()))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return _saved(backend, folder, {f"{name}_token": token for name, token in names.items()})


def qwen(folder: Path) -> Path:
    """Byte-level BPE with nothing around texts, as Qwen2 and Qwen3 have it."""
    from transformers import Qwen2Tokenizer

    trained = json.loads(byte_level(["<|endoftext|>"]).to_str())["model"]
    merges = [tuple(merge) for merge in trained["merges"]]
    Qwen2Tokenizer(vocab=trained["vocab"], merges=merges).save_pretrained(folder)
    return folder


def qwen_embedding(folder: Path) -> Path:
    """The same with a token at the end, which is what Qwen3-Embedding pools."""
    backend = byte_level(["<|endoftext|>"])
    backend.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>",
        pair="$A $B:1 <|endoftext|>:1",
        special_tokens=[("<|endoftext|>", backend.token_to_id("<|endoftext|>"))],
    )
    return _saved(backend, folder, {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})


def roberta(folder: Path) -> Path:
    """Byte-level BPE with RoBERTa's own post-processor, which trims offsets."""
    backend = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    ids = [(token, backend.token_to_id(token)) for token in ("</s>", "<s>")]
    backend.post_processor = processors.RobertaProcessing(*ids, add_prefix_space=False)
    return _saved(backend, folder, ROBERTA | {"unk_token": "<unk>", "mask_token": "<mask>"})


def word_pieces_framed_otherwise(folder: Path) -> Path:
    """WordPiece with RoBERTa's frame, as MPNet has it, and two added tokens."""
    entries = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *sorted(set("".join(SENTENCES)) - {" "}), "##he", "we"]
    backend = tokenizers.Tokenizer(models.WordPiece({token: i for i, token in enumerate(entries)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<mask>"])
    backend.add_tokens([tokenizers.AddedToken("天气很", normalized=False), "[E1]"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return _saved(backend, folder, ROBERTA | {"unk_token": "[UNK]", "mask_token": "<mask>"})


MAKERS = (xlm_roberta, modern_bert, qwen, qwen_embedding, roberta, word_pieces_framed_otherwise)


def byte_level(special: list[str]) -> Any:
    """A byte-level BPE whose first entries are `special`."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def _saved(backend: Any, folder: Path, names: dict[str, str]) -> Path:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    return folder


def checkpoint(kind: str, folder: Path) -> Any:
    """A random model of two layers with its tokenizer, as transformers writes it; returns transformers' model."""
    import torch
    import transformers
    from transformers import AutoModel, AutoTokenizer

    {"xlm_roberta": xlm_roberta, "modern_bert": modern_bert, "qwen2": qwen, "qwen3": qwen_embedding}[kind](folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer) + 3,  # published models pad their word table
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 60,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": tokenizer.pad_token_id,
    }
    own = {
        "xlm_roberta": ("XLMRobertaConfig", {"type_vocab_size": 1}),
        "modern_bert": ("ModernBertConfig", {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 8}),
        "qwen2": ("Qwen2Config", {"num_key_value_heads": 1}),
        "qwen3": ("Qwen3Config", {"num_key_value_heads": 1, "head_dim": 8}),
    }
    name, others = own[kind]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, name)(**sizes, **others)).eval()
    model.save_pretrained(folder)
    return model


KINDS = ("xlm_roberta", "modern_bert", "qwen2", "qwen3")
