"""Word-level tokenization of WoBERT and RoFormer, with the ids of bert4keras.

The order is the author's: lower-case, strip accents, segment (HMM off), keep a segment that is in the
vocabulary, else apply BERT's rules inside it. Differences from `CharTokenizer`, which follows transformers:

* a word may have 200 characters (100 there) before it is unknown as a whole;
* special tokens written in a text are ordinary text; tokens added to the vocabulary are whole, in any case if the
  text is lower-cased;
* the character classes are Python's Unicode tables: private-use and unassigned characters stay (there they
  are dropped), U+2B820-U+2B91F count as Chinese (there they do not), and a final Σ becomes ς;
* a dropped character (NUL, zero-width space) still parts words when the segmenter splits there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from nlpx.io import write_json, write_text
from nlpx.tokenizers.added import AddedToken, as_json
from nlpx.tokenizers.base import Rows, Tokenizer
from nlpx.tokenizers.cache import BoundedCache
from nlpx.tokenizers.characters import lower_and_strip
from nlpx.tokenizers.encoding import Span
from nlpx.tokenizers.segment import build_segmenter
from nlpx.tokenizers.user_dictionary import UserWord
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.wordpiece import word_pieces


class WordTokenizer(Tokenizer):
    """Segmenter first, WordPiece inside what the vocabulary does not know.

    `segmenter` is "rjieba" or "jieba" (the reference). User words are lower-cased like the text; they move
    word borders, and become tokens of their own where the vocabulary has them.
    """

    kind = "word"

    def __init__(
        self,
        vocab: Vocab,
        *,
        do_lower_case: bool = True,
        segmenter: str = "rjieba",
        user_words: Sequence[UserWord] = (),
        reason: str | None = None,
    ) -> None:
        super().__init__(vocab, do_lower_case=do_lower_case, reason=reason)
        self.segmenter = segmenter
        lowered = (entry._replace(word=lower_and_strip(entry.word)) for entry in user_words)
        self.user_words = [entry for entry in (lowered if do_lower_case else user_words) if entry.word]
        normalise = lower_and_strip if do_lower_case else str
        whole = {normalise(token.content): token for token in vocab.added}
        self._added = {text: vocab.ids[token.content] for text, token in whole.items()}
        self.segment = _around(whole, build_segmenter(segmenter, self.user_words))
        # Tuples hold their items inline: look-ups here wait for memory, and a list would be one more jump.
        self._segment_ids: BoundedCache[tuple[int, ...]] = BoundedCache(lambda word: tuple(self.pieces(word)[0]))
        self._segment_spans: BoundedCache[list[Span]] = BoundedCache(lambda word: self.pieces(word)[1])

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.do_lower_case, self.segmenter, self.user_words, self.reason)
        return _rebuild, (self.vocab, *options)

    def save(self, directory: str | Path) -> None:
        """Write vocab.txt and nlpx_tokenizer.json; nothing in tokenizer.json could express the segmenter."""
        folder = Path(directory)
        write_text(folder / "vocab.txt", self.vocab.text())
        description: dict[str, Any] = {
            "kind": self.kind,
            "do_lower_case": self.do_lower_case,
            "segmenter": self.segmenter,
            "user_dictionary": self.user_words,
        }
        if self.vocab.added:
            description["added_tokens_decoder"] = {
                str(index): as_json(token) for index, token in self.vocab.added_by_id().items()
            }
        write_json(folder / "nlpx_tokenizer.json", description)

    def _rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        "".join(texts).encode()  # refuses lone surrogates, whichever segmenter is used
        look_up, segment = self._segment_ids.__getitem__, self.segment
        normalised = map(lower_and_strip, texts) if self.do_lower_case else texts
        if not return_offsets:
            return [list(chain.from_iterable(map(look_up, segment(text)))) for text in normalised], None
        segments = [segment(text) for text in normalised]
        rows = [list(chain.from_iterable(map(look_up, words))) for words in segments]
        return rows, [self._offsets(*row) for row in zip(texts, segments, strict=True)]

    def pieces(self, word: str) -> tuple[list[int], list[Span]]:
        """Ids and spans of one segment of the normalised text: itself if it is an entry, else its pieces."""
        index = self._added.get(word, self.vocab.ids.get(word))
        if index is not None:
            return [index], [(0, len(word))]
        return word_pieces(word, self.vocab.ids, unknown=self.vocab.ids["[UNK]"])

    def _offsets(self, text: str, words: list[str]) -> list[Span]:
        spans: list[Span] = []
        start = 0
        for word in words:
            spans += [(start + first, start + last) for first, last in self._segment_spans[word]]
            start += len(word)
        normalised = "".join(words)
        if len(normalised) == len(text) and normalised in (text, text.lower()):
            return spans
        # Accents were dropped or characters decomposed: find each normalised character's origin.
        origin = [place for place, character in enumerate(text) for _ in lower_and_strip(character)]
        return [(origin[first], origin[last - 1] + 1) for first, last in spans]


def _around(whole: Mapping[str, AddedToken], segment: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The segmenter that leaves these entries in one piece, the longest first."""
    if not whole:
        return segment
    ways = [
        rf"(?<!\w){re.escape(text)}(?!\w)" if whole[text].single_word else re.escape(text)
        for text in sorted(whole, key=len, reverse=True)
    ]
    pattern = re.compile(f"({'|'.join(ways)})")

    def around(text: str) -> list[str]:
        parts = pattern.split(text)  # every second one is an added token
        return [word for number, part in enumerate(parts) for word in ([part] if number % 2 else segment(part))]

    return around


def _rebuild(vocab: Vocab, lower: bool, segmenter: str, user_words: Sequence[UserWord], reason: str) -> WordTokenizer:
    return WordTokenizer(vocab, do_lower_case=lower, segmenter=segmenter, user_words=user_words, reason=reason)
