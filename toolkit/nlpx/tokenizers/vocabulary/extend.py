"""The WoBERT recipe: a base vocabulary without what is redundant, then words, each as the mean of its pieces.

Su Jianlin, WoBERT (github.com/ZhuiyiTechnology/WoBERT): a character BERT becomes a word BERT.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from nlpx.errors import InputError
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.characters import is_cjk, is_punctuation, lower_and_strip
from nlpx.tokenizers.segment import build_segmenter
from nlpx.tokenizers.user_dictionary import UserWord
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Kind, Vocab
from nlpx.tokenizers.word import WordTokenizer

Weights = Literal["equal", "characters", "rarity"]
Compound = list[int] | tuple[list[int], list[float]]

_UNUSED = re.compile(r"\[unused\d+\]")
_RARITY = 1e-3  # the a of smooth inverse frequency, a / (a + p) (Arora et al. 2017)
_BLOCK = 4096  # words tokenised at once


@dataclass(frozen=True, slots=True)
class Simplified:
    """The entries kept of a vocabulary, special tokens first; `keep_tokens` are their old ids."""

    tokens: list[str]
    keep_tokens: list[int]


@dataclass(slots=True)
class Extension:
    """What became of a vocabulary: `keep_tokens` and `compound_tokens` are those of `load_model`.

    `skipped` counts words that were not taken, by reason.
    """

    tokenizer: Tokenizer
    keep_tokens: list[int]
    compound_tokens: list[Compound]
    words: list[str]
    skipped: Counter[str] = field(default_factory=Counter)
    taught: list[str] = field(default_factory=list)


def missing_special_tokens(vocab: Vocab) -> list[str]:
    """Those of [PAD] [UNK] [CLS] [SEP] [MASK] that the vocabulary lacks."""
    return [token for token in SPECIAL_TOKENS if token not in vocab.ids]


def check_special_tokens(vocab: Vocab) -> None:
    """Raises `InputError` naming the special tokens that are missing."""
    missing = missing_special_tokens(vocab)
    if missing:
        raise InputError(
            f"{vocab.source} has no {', '.join(missing)} among its {len(vocab):,} entries",
            hint="`nlpx vocab extend BASE --size 0 --add-special -o DIR` adds them; in a checkpoint, rows as well",
        )


def is_redundant(token: str, kind: Kind) -> bool:
    """Whether no text can ever become this entry: a blank one, or several characters that BERT sets apart.

    Those are pieces and words with a Chinese character or punctuation in them (`##汉`, `[unused7]`, `--`). In a word
    vocabulary, words are what the segmenter finds whole, so only pieces and `[...]` entries are redundant.
    """
    stem = token.removeprefix("##") if len(token) > 2 else token
    if len(token) < 2:
        return not token
    apart = any(is_cjk(character) or is_punctuation(character) for character in stem)
    is_piece = stem != token or (token.startswith("[") and token.endswith("]"))
    return apart and (kind == "char" or is_piece)


def simplify(vocab: Vocab, kind: Kind, *, keep_unused: bool = False) -> Simplified:
    """Special and added tokens first, the rest in its order, without redundant and repeated entries.

    Of an entry written twice the id in use is kept, which is the last. `keep_unused` keeps `[unused1]`, ... .
    """
    special = [token for token in SPECIAL_TOKENS if token in vocab.ids] + [token.content for token in vocab.added]
    kept = [
        index
        for token, index in sorted(vocab.ids.items(), key=lambda item: item[1])
        if token not in special and (not is_redundant(token, kind) or (keep_unused and _UNUSED.fullmatch(token)))
    ]
    ids = [vocab.ids[token] for token in special] + kept
    return Simplified([vocab.tokens[index] for index in ids], ids)


def with_vocabulary(tokenizer: Tokenizer, vocab: Vocab) -> Tokenizer:
    """The same tokenizer over another vocabulary."""
    if isinstance(tokenizer, WordTokenizer):
        return WordTokenizer(
            vocab,
            do_lower_case=tokenizer.do_lower_case,
            segmenter=tokenizer.segmenter,
            user_words=tokenizer.user_words,
        )
    assert isinstance(tokenizer, CharTokenizer)
    return CharTokenizer(
        vocab,
        do_lower_case=tokenizer.do_lower_case,
        strip_accents=tokenizer.strip_accents,
        tokenize_chinese_chars=tokenizer.tokenize_chinese_chars,
    )


def extend(
    tokenizer: Tokenizer,
    words: Iterable[tuple[str, int]],
    *,
    size: int = 20_000,
    keep_unused: bool = False,
    add_special: bool = False,
    teach: bool = False,
    weights: Weights = "equal",
) -> Extension:
    """Simplify the tokenizer's vocabulary and append the first `size` fitting words of `words`, the frequent first.

    A word fits if it has two or more characters, is not there yet, is spelt by the base tokenizer without [UNK], and
    comes out of the segmenter whole; `teach` adds words that do not to the segmenter's dictionary instead of skipping
    them. `weights` are those of a word's pieces in its mean: equal, by the characters of each piece, or by rarity,
    a / (a + p) with a piece's share p of the words' counts. A special token added starts as [UNK]'s row. With
    `size` 0 the kind of the tokenizer stays. Raises `InputError` if special tokens are missing.
    """
    _check_base(tokenizer, add_special=add_special)
    base = simplify(tokenizer.vocab, tokenizer.kind, keep_unused=keep_unused)
    special = missing_special_tokens(tokenizer.vocab)
    pure = with_vocabulary(
        tokenizer, Vocab(base.tokens + special, source=tokenizer.vocab.source, added=tokenizer.vocab.added)
    )
    taken = _Taking(pure, teach=teach)
    chosen = list(islice(taken.fitting(words), size)) if size else []
    compounds: list[Compound] = [[base.tokens.index("[UNK]")] for _ in special]
    compounds += _compounds(chosen, pure, weights)
    found = [word for word, _, _ in chosen]
    vocab = Vocab(pure.vocab.tokens + found, source="the extended vocabulary", added=tokenizer.vocab.added)
    taught = [word for word in found if word in taken.untaught]
    return Extension(
        _extended(tokenizer, vocab, taught, is_word=bool(size)),
        base.keep_tokens,
        compounds,
        found,
        taken.skipped,
        taught,
    )


def _check_base(tokenizer: Tokenizer, *, add_special: bool) -> None:
    if not add_special:
        check_special_tokens(tokenizer.vocab)
    if isinstance(tokenizer, CharTokenizer) and not tokenizer.tokenize_chinese_chars:
        raise InputError(
            f"{tokenizer.vocab.source}: its tokenizer does not set Chinese characters apart, so none is redundant",
            hint="only BERT's way of splitting Chinese (tokenize_chinese_chars true) can be extended by words",
        )


class _Taking:
    """Which of a stream of words fit, and why the others do not."""

    def __init__(self, pure: Tokenizer, *, teach: bool) -> None:
        self.pure, self.teach = pure, teach
        user_words = pure.user_words if isinstance(pure, WordTokenizer) else ()
        self.segment = build_segmenter(pure.segmenter if isinstance(pure, WordTokenizer) else "rjieba", user_words)
        self.known = set(pure.vocab.ids)
        self.skipped: Counter[str] = Counter()
        self.untaught: set[str] = set()

    def fitting(self, words: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, list[int]]]:
        """(word, count, pieces) of every word that fits, in their order."""
        stream = self._wanted(words)
        while block := list(islice(stream, _BLOCK)):
            encodings = self.pure.encode_batch([word for word, _ in block])
            for (word, count), encoding in zip(block, encodings, strict=True):
                pieces = encoding.token_ids[1:-1]
                if not pieces or self.pure.unk_token_id in pieces:
                    self.skipped["not spellable"] += 1
                elif self._is_found(word):
                    yield word, count, pieces

    def _wanted(self, words: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for text, count in words:
            word = lower_and_strip(text) if self.pure.do_lower_case else text
            if len(word) < 2 or not word.strip() or len(word.split()) > 1:
                self.skipped["one character, or several words"] += 1
            elif word in self.known:
                self.skipped["there already"] += 1
            else:
                self.known.add(word)
                yield word, count

    def _is_found(self, word: str) -> bool:
        if self.segment(word) == [word]:
            return True
        if not self.teach:
            self.skipped["never a word of the segmenter"] += 1
            return False
        self.untaught.add(word)
        return True


def _extended(tokenizer: Tokenizer, vocab: Vocab, taught: Sequence[str], *, is_word: bool) -> Tokenizer:
    if isinstance(tokenizer, CharTokenizer) and not is_word:
        return with_vocabulary(tokenizer, vocab)
    if not isinstance(tokenizer, WordTokenizer):
        tokenizer = WordTokenizer(tokenizer.vocab, do_lower_case=tokenizer.do_lower_case)
    return WordTokenizer(
        vocab,
        do_lower_case=tokenizer.do_lower_case,
        segmenter=tokenizer.segmenter,
        user_words=[*tokenizer.user_words, *(UserWord(word) for word in taught)],
    )


def _compounds(chosen: Sequence[tuple[str, int, list[int]]], pure: Tokenizer, weights: Weights) -> list[Compound]:
    if weights == "equal":
        return [pieces for _, _, pieces in chosen]
    if weights == "characters":
        sizes = [len(token.removeprefix("##")) for token in pure.vocab.tokens]
        return [(pieces, [float(sizes[piece]) for piece in pieces]) for _, _, pieces in chosen]
    shares: Counter[int] = Counter()
    for _, count, pieces in chosen:
        for piece in pieces:
            shares[piece] += count
    total = sum(shares.values()) or 1
    return [(pieces, [_RARITY / (_RARITY + shares[piece] / total) for piece in pieces]) for _, _, pieces in chosen]
