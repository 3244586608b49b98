"""`nlpx vocab`: vocabularies from the command line, and what becomes of a checkpoint's rows, family by family."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import foreign_tokenizers as foreign
import tiny
from nlpx import load_model, load_tokenizer
from nlpx.models.checkpoints.load import describe

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert4keras"
WORDS = "春风\t9\n山川\t7\n花草\t7\n风\t5\n雷电\t2\n日本\t1\n"
TEXTS = ["春风，吹花草。", "山川湖海 [春夏秋冬]", "东风"]
PUNCTUATION = ["，", "[", "]", "##春", "[unused1]"]
ROWS = {"embeddings.word_embeddings.weight", "lm_head.decoder", "lm_head.bias"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("words.tsv").write_text(WORDS, encoding="utf-8")
    Path("corpus.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")


@pytest.fixture
def run(nlpx):
    def call(*words: str) -> dict[str, Any]:
        outcome = nlpx("vocab", *words, "--json")
        assert (outcome.code, outcome.err) == (0, ""), outcome.err
        return json.loads(outcome.out)

    return call


def whole(path: str) -> Any:
    """A checkpoint with every head it has."""
    config = describe(Path(path)).config
    kept = {name: getattr(config, name) for name in ("heads", "pooler", "classification_pooling", "mask")}
    return load_model(path, **kept)


VOCAB = [*tiny.SPECIAL, *PUNCTUATION, *tiny.CHARACTERS]
GPT = {"vocab_size": len(VOCAB), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
SIZES = {"vocab_size": len(VOCAB)}
FAMILIES = {
    "bert": ("BertConfig", "BertForPreTraining", SIZES),
    "untied": ("BertConfig", "BertForMaskedLM", SIZES | {"tie_word_embeddings": False}),
    "roformer": ("RoFormerConfig", "RoFormerForMaskedLM", SIZES | {"embedding_size": 8}),
    "albert": ("AlbertConfig", "AlbertForPreTraining", SIZES | {"embedding_size": 8}),
    "generator": ("ElectraConfig", "ElectraForMaskedLM", SIZES | {"embedding_size": 8}),
    "discriminator": ("ElectraConfig", "ElectraForPreTraining", SIZES | {"embedding_size": 8}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT),
}


def made(family: str) -> Any:
    config, model, sizes = FAMILIES[family]
    tiny.checkpoint(Path("base"), config, model, vocab=VOCAB, **sizes)
    return whole("base")


def rows_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name in ROWS}


@pytest.mark.parametrize("family", FAMILIES)
def test_extending_a_checkpoint(run, family):
    before = made(family)
    facts = run("extend", "base", "--words", "words.tsv", "--size", "3", "-o", "wider")
    after, written = whole("wider"), json.loads(Path("wider/vocabulary_map.json").read_text(encoding="utf-8"))
    tokens = load_tokenizer("wider").vocab.tokens
    assert tokens == [*tiny.SPECIAL, "，", "[", "]", *tiny.CHARACTERS, "春风", "山川", "花草"]
    assert (facts["size"], facts["kept"], facts["added"]) == (len(tokens), len(tokens) - 3, 3)
    assert (written["added"], written["kind"], written["segmenter"][:6]) == (3, "word", "rjieba")
    kept = written["keep_tokens"]
    assert [VOCAB[index] for index in kept] == tokens[:-3]
    table = rows_of(after)
    for name, old in rows_of(before).items():
        assert torch.equal(table[name][: len(kept)], old[kept])
        for row, pieces in enumerate(written["compound_tokens"], start=len(kept)):
            torch.testing.assert_close(table[name][row], table[name][pieces].mean(dim=0), rtol=0, atol=1e-6)
    untouched = {name: tensor for name, tensor in after.state_dict().items() if name not in ROWS}
    assert untouched.keys() == before.state_dict().keys() - ROWS
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in untouched.items())
    # GPT-2's own ids of bos and eos lie beyond this small vocabulary, so they have no row to follow.
    special = {name: kept.index(row) for name, row in before.config.special_token_ids.items() if row in kept}
    assert after.config == before.config.with_choices(vocab_size=len(tokens), special_token_ids=special)
    assert after.load_report.unexpected == []


@pytest.mark.parametrize("family", FAMILIES)
def test_trimming_a_checkpoint(run, family):
    before = made(family)
    facts = run("trim", "base", "--data", "corpus.txt", "-o", "small")
    after, old, new = whole("small"), load_tokenizer("base"), load_tokenizer("small")
    kept = json.loads(Path("small/vocabulary_map.json").read_text(encoding="utf-8"))["keep_tokens"]
    assert facts["size"] == len(kept) == new.vocab_size < old.vocab_size
    for text in TEXTS:
        assert new.tokenize(text) == old.tokenize(text)
        ids = [torch.tensor([tokenizer.encode(text).token_ids]) for tokenizer in (old, new)]
        with torch.no_grad():
            first, second = before(ids[0]), after(ids[1])
        assert torch.equal(first.last_hidden_state, second.last_hidden_state)
        if "lm" in before.config.heads:
            torch.testing.assert_close(second.logits, first.logits[..., kept], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["nezha", "roformer", "roformer_v2", "bert", "albert"])
def test_tensorflow_bundles(run, family):
    """Also: the map is all that is needed to do the same to the old weights again."""
    shutil.copytree(FIXTURES / family, "base")
    run("extend", "base", "--size", "6", "--family", family, "-o", "wider")
    written = json.loads(Path("wider/vocabulary_map.json").read_text(encoding="utf-8"))
    config = describe(Path("base"), family).config
    again = load_model(
        "base",
        family,
        keep_tokens=written["keep_tokens"],
        compound_tokens=written["compound_tokens"],
        heads=config.heads,
        pooler=config.pooler,
        mask=config.mask,
    )
    state = whole("wider").state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())


def test_the_dictionary_and_weights(run):
    made("bert")
    by_rarity = run("extend", "base", "--size", "20", "--weights", "rarity", "-o", "wider")
    assert by_rarity["words"].startswith("the dictionary of jieba ")
    written = json.loads(Path("wider/vocabulary_map.json").read_text(encoding="utf-8"))
    pieces, weights = written["compound_tokens"][0]
    table = rows_of(whole("wider"))["embeddings.word_embeddings.weight"]
    shares = torch.tensor(weights)[:, None] / sum(weights)
    torch.testing.assert_close(table[written["kept"]], (table[pieces] * shares).sum(dim=0), rtol=0, atol=1e-6)


def test_plain_transformers_reads_what_is_written_for_it(run):
    from transformers import BertForMaskedLM

    tiny.bert(Path("base"), vocab=VOCAB, **SIZES)
    run("trim", "base", "--data", "corpus.txt", "--to", "hf", "-o", "small")
    theirs = BertForMaskedLM.from_pretrained("small").eval()
    ids = torch.tensor([load_tokenizer("small").encode("春风").token_ids])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, whole("small")(ids).logits)


def test_a_vocabulary_alone(run, nlpx):
    tiny.write_vocab(Path("base"), VOCAB)
    facts = run("extend", "base/vocab.txt", "--words", "words.tsv", "-o", "wider")
    assert (facts["checkpoint"], facts["added"]) == (False, 4)
    assert facts["skipped"] == {"one character, or several words": 1, "not spellable": 1}
    assert load_tokenizer("wider").tokenize("春风，山川") == ["春风", "，", "山川"]
    facts = run("trim", "wider", "--counts", "words.tsv", "--min-count", "5", "-o", "small")
    assert load_tokenizer("small").vocab.tokens == [*tiny.SPECIAL, "[", "]", "风", "春风", "山川", "花草"]
    outcome = nlpx("vocab", "extend", "base", "--size", "0", "-o", "simple", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "simple\n", "")
    assert load_tokenizer("simple").kind == "char"


def test_a_fine_tuned_model_still_predicts(run):
    tiny.bert(Path("base"), vocab=VOCAB, **SIZES)
    Path("base/task.json").write_text("{}", encoding="utf-8")
    run("trim", "base", "--data", "corpus.txt", "-o", "small")
    assert Path("small/task.json").is_file()


# --- build


def test_building(run, nlpx):
    facts = run("build", "corpus.txt", "-o", "made")
    assert facts == {"path": "made", "size": 77 + 17, "characters": 17, "words": 0, "coverage": 1.0}
    assert load_tokenizer("made").tokenize("春风ABC") == ["春", "风", "a", "##b", "##c"]
    outcome = nlpx("vocab", "build", "corpus.txt", "--size", "80")
    assert outcome.code == 0
    assert outcome.out.splitlines()[:6] == [*tiny.SPECIAL, "a"]
    assert outcome.out.splitlines()[77:] == ["春", "风", "["]
    assert "80 entries, 0 of them words; single characters cover" in outcome.err
    assert nlpx("vocab", "build", "words.tsv", "--kind", "word", "-o", "vocab.txt", "--quiet").out == "vocab.txt\n"
    tokens = Path("vocab.txt").read_text(encoding="utf-8").splitlines()
    assert tokens[-5:] == ["春风", "山川", "花草", "雷电", "日本"]


def test_building_words_from_texts(run):
    run("build", "corpus.txt", "--kind", "word", "--coverage", "1", "-o", "made")
    made_of = load_tokenizer("made")
    assert made_of.kind == "word"
    assert {"春风", "花草", "山川"} <= set(made_of.vocab.tokens)


def test_characters_are_counted_out_of_words(nlpx):
    outcome = nlpx("vocab", "build", "words.tsv", "-o", "made")
    assert "words.tsv counts words: their characters are counted out of them" in outcome.err
    assert load_tokenizer("made").vocab.tokens[77] == "风"


# --- show


def test_showing(run, nlpx):
    tiny.write_vocab(Path("one"), [*VOCAB, "春风"])
    tiny.write_vocab(Path("two"), [*tiny.SPECIAL[:-1], "春", "春"])
    facts = run("show", "one", "two", "--data", "corpus.txt")
    assert facts["entries"] == {
        "special tokens": 5, "Chinese characters": 28, "words of 2 characters": 1, "Chinese pieces": 1,
        "punctuation": 3, "unused": 1,
    }  # fmt: skip
    assert (facts["size"], facts["kind"], facts["redundant"]) == (39, "char", 3)
    assert facts["corpus"] == {
        "texts": 3, "characters": 20, "tokens": 19, "tokens_per_character": 0.95, "unknown": 2, "used_entries": 16,
        "coverage": pytest.approx(17 / 19),
    }  # fmt: skip
    assert (facts["other"]["missing_special_tokens"], facts["other"]["duplicates"]) == (["[MASK]"], ["春"])
    assert facts["compared"] == {"shared": 5, "only_here": 34, "only_there": 0}
    outcome = nlpx("vocab", "show", "one", "two")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["entries", "one", "two"]
    assert "two: missing [MASK]\n" in outcome.err
    assert "two: 1 entries stand there twice: 春\n" in outcome.err
    assert nlpx("vocab", "show", "one", "--quiet").out == "39\n"


# --- bad input


def refused(nlpx, *words: str) -> tuple[int, str]:
    outcome = nlpx("vocab", *words)
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    return outcome.code, outcome.err


def test_refused(nlpx):
    tiny.write_vocab(Path("base"), VOCAB)
    tiny.write_vocab(Path("lacking"), ["[PAD]", "[UNK]", "春"])
    for name, content in (
        ("empty", ""),
        ("chars", "春\t3\n"),
        ("grams", "春 风\t3\n"),
        ("broken", "春风\t3\n春风 3\n"),
    ):
        Path(f"{name}.tsv").write_text(content, encoding="utf-8")
    Path("blank.txt").write_text("\n\n", encoding="utf-8")
    Path("taken").mkdir()
    Path("taken/letter.txt").write_text("dear", encoding="utf-8")
    out = ("-o", "new")
    for words, code, said in (
        (("extend", "lacking", *out), 3, "has no [CLS], [SEP], [MASK] among its 3 entries"),
        (("trim", "lacking", "--data", "corpus.txt", *out), 3, "--add-special"),
        (("extend", "base", "--words", "empty.tsv", *out), 3, "empty.tsv: no counts in it"),
        (("extend", "base", "--words", "chars.tsv", *out), 3, "chars.tsv: counts of single characters, not of words"),
        (("extend", "base", "--words", "grams.tsv", *out), 3, "grams.tsv: counts of n-grams, not of words"),
        (("extend", "base", "--words", "broken.tsv", *out), 3, "broken.tsv:2"),
        (("extend", "base", "--words", "none.tsv", *out), 3, "none.tsv"),
        (("extend", "base", "--words", "words.tsv", "--min-count", "99", *out), 3, "no word to add"),
        (("extend", "nowhere/at/all", *out), 3, "nowhere/at/all: no such file or directory"),
        (("trim", "base", *out), 2, "give --data or --counts"),
        (("trim", "base", "--data", "blank.txt", *out), 3, "blank.txt: no text in it"),
        (("build", "blank.txt"), 3, "blank.txt: no text in it"),
        (("build", "none.txt"), 3, "none.txt: no such file"),
        (("build", "chars.tsv", "--kind", "word"), 3, "counts of single characters"),
        (("build", "grams.tsv"), 3, "no single character in it: counts of n-grams?"),
        (("build", "corpus.txt", "--size", "20"), 2, "--size 20 leaves no room"),
        (("build", "corpus.txt", "-o", "taken"), 2, "taken: already exists"),
        (("build", "corpus.txt", "-o", "taken", "--overwrite"), 2, "--overwrite does not touch it"),
        (("show", "base", "--data", "none.txt"), 3, "none.txt: no such file"),
    ):
        found = refused(nlpx, *words)
        assert found[0] == code, (words, found)
        assert said in found[1], (words, found)
    assert not Path("new").exists()
    assert Path("taken/letter.txt").read_text(encoding="utf-8") == "dear"


def test_a_vocabulary_that_is_not_the_checkpoints(nlpx):
    tiny.bert(Path("base"), vocab=[*VOCAB, "多", "了"], **SIZES)
    code, said = refused(nlpx, "extend", "base", "--words", "words.tsv", "-o", "new")
    assert code == 3
    assert "base/vocab.txt has 40 entries, the word table of base 38 rows" in said


def test_another_encoder(nlpx):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "vocab_size": len(VOCAB)}
    tiny.checkpoint(Path("base"), "DistilBertConfig", "DistilBertModel", vocab=VOCAB, **sizes)
    code, said = refused(nlpx, "trim", "base", "--data", "corpus.txt", "-o", "new")
    assert (code, "none of nlpx's families" in said) == (3, True)
    assert nlpx("vocab", "trim", "base/vocab.txt", "--data", "corpus.txt", "-o", "new").code == 0


def test_special_tokens_get_rows_too(run):
    lacking = [token for token in VOCAB if token != "[MASK]"]
    tiny.bert(Path("base"), vocab=lacking, vocab_size=len(lacking))
    run("extend", "base", "--words", "words.tsv", "--add-special", "-o", "wider")
    tokenizer, model = load_tokenizer("wider"), whole("wider")
    assert tokenizer.mask_token_id is not None
    table = model.embeddings.word_embeddings.weight
    assert torch.equal(table[tokenizer.mask_token_id], table[tokenizer.unk_token_id])
    assert torch.equal(
        table[-4], whole("base").embeddings.word_embeddings.weight[[lacking.index(c) for c in "春风"]].mean(0)
    )


def test_replacing_what_one_wrote(run, nlpx):
    tiny.write_vocab(Path("base"), VOCAB)
    run("extend", "base", "--words", "words.tsv", "-o", "wider")
    assert refused(nlpx, "extend", "base", "-o", "wider")[0] == 2
    assert run("extend", "base", "--words", "words.tsv", "--size", "1", "-o", "wider", "--overwrite")["added"] == 1
    assert sorted(path.name for path in Path("wider").iterdir()) == [
        "nlpx_tokenizer.json", "vocab.txt", "vocabulary_map.json",
    ]  # fmt: skip


def test_counts_from_stdin(nlpx, monkeypatch):
    tiny.write_vocab(Path("base"), VOCAB)
    with Path("words.tsv").open(encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        outcome = nlpx("vocab", "extend", "base", "--words", "-", "-o", "wider", "--quiet")
    assert outcome == (0, "wider\n", "")
    assert load_tokenizer("wider").vocab.tokens[-1] == "雷电"


def test_a_word_the_segmenter_splits_is_no_entry(nlpx):
    Path("guessed.tsv").write_text("云鱼鸟\t9\n春风\t2\n春\t1\n", encoding="utf-8")
    assert nlpx("vocab", "build", "guessed.tsv", "--kind", "word", "-o", "made", "--quiet").code == 0
    tokens = load_tokenizer("made").vocab.tokens
    assert "春风" in tokens
    assert "云鱼鸟" not in tokens


def test_the_earlier_name_of_trim_works_and_says_the_new_one(nlpx):
    made("bert")
    outcome = nlpx("vocab", "cut", "base", "--data", "corpus.txt", "-o", "small")
    assert outcome.code == 0
    assert "is now called `nlpx vocab trim`" in outcome.err
    assert Path("small/vocab.txt").read_text() != Path("base/vocab.txt").read_text()
    assert "cut" not in nlpx("vocab", "--help").out


def test_trimming_an_mt5(nlpx):
    tiny.mt5(Path("base"))
    Path("some.txt").write_text("".join(f"{text}\n" for text in foreign.SENTENCES[:2]), encoding="utf-8")
    outcome = nlpx("vocab", "cut", "base", "--family", "mt5", "--data", "some.txt", "-o", "small", "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    old, new = load_tokenizer("base"), load_tokenizer("small")
    before, after = (load_model(folder, head="lm") for folder in ("base", "small"))
    kept = json.loads(Path("small/vocabulary_map.json").read_text(encoding="utf-8"))["keep_tokens"]
    assert facts["size"] == len(kept) == new.vocab_size == after.config.vocab_size < old.vocab_size
    assert kept[:259] == list(range(259))
    assert "▁<extra_id_0>" in new.vocab.ids
    assert not after.config.tie_word_embeddings
    for text in foreign.SENTENCES[:2]:
        assert new.decode(new.encode(text).token_ids) == old.decode(old.encode(text).token_ids)
        ids = [torch.tensor([tokenizer.encode(text).token_ids]) for tokenizer in (old, new)]
        assert [kept[index] for index in ids[1][0].tolist()] == ids[0][0].tolist()
        starts = [torch.cat([torch.zeros(1, 1, dtype=torch.long), one], 1) for one in ids]
        with torch.no_grad():
            first, second = before(ids[0], None, starts[0]).logits, after(ids[1], None, starts[1]).logits
        torch.testing.assert_close(second, first[..., kept], rtol=1e-5, atol=1e-5)
        renormalised = first.softmax(-1)[..., kept]
        renormalised = renormalised / renormalised.sum(-1, keepdim=True)
        torch.testing.assert_close(second.softmax(-1), renormalised, rtol=1e-4, atol=1e-6)


def test_trimming_an_mt5_to_a_size_for_transformers(nlpx, run):
    tiny.mt5(Path("base"))
    Path("some.txt").write_text("".join(f"{text}\n" for text in foreign.SENTENCES), encoding="utf-8")
    facts = run("trim", "base", "--data", "some.txt", "--size", "300", "--to", "hf", "-o", "small")
    assert facts["size"] == 300
    from transformers import MT5ForConditionalGeneration

    theirs = MT5ForConditionalGeneration.from_pretrained("small")
    assert theirs.lm_head.weight.shape == theirs.shared.weight.shape == (300, 16)
    assert load_model("small", head="lm").config.family == "mt5"
    assert run("trim", "small/spiece.model", "--data", "some.txt", "--size", "290", "-o", "fewer")["size"] == 290
    code, said = refused(nlpx, "trim", "base", "--data", "some.txt", "--size", "20", "-o", "none")
    assert (code, "--size 20 leaves no room" in said) == (2, True)
    code, said = refused(nlpx, "trim", "base", "--counts", "words.tsv", "-o", "none")
    assert (code, "give --data" in said) == (2, True)
    code, said = refused(nlpx, "extend", "base", "--words", "words.tsv", "-o", "none")
    assert code == 3


def test_trimming_to_a_size(run):
    tiny.write_vocab(Path("base"), VOCAB)
    Path("some.txt").write_text("春春春夏夏秋\n", encoding="utf-8")
    assert run("trim", "base", "--data", "some.txt", "--size", "9", "-o", "small")["size"] == 9
    assert load_tokenizer("small").vocab.tokens == [*tiny.SPECIAL, "[", "]", "春", "夏"]
