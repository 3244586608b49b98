"""The vocabulary: tokens in the order of `vocab.txt`, their ids, the special ones, and what kind it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from nlpx.errors import InputError
from nlpx.first_bytes import refuse_placeholder
from nlpx.tokenizers.added import AddedToken
from nlpx.tokenizers.characters import is_cjk

Kind = Literal["char", "word", "subword"]  # subword: any but the two of BERT

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Released character vocabularies hold a handful of words at most; WoBERT's and RoFormer's are mostly words.
_WORD_SHARE = 0.05


class Vocab:
    """Tokens and ids. A token's id is its line in `vocab.txt`, counted from 0.

    As in transformers, a blank line takes an id and matches nothing, and of a token written twice the last
    line counts. (bert4keras gives two tokens one id after a duplicate; that is not repeated here.) Blank
    lines at the end of the file are no entries. `[PAD] [UNK] [CLS] [SEP] [MASK]` may stand anywhere.

    `added` are the entries that are found whole in a text whatever surrounds them; the five special tokens are not
    among them, and one that is no entry is left out.

    Raises `InputError` when there is no token at all or not the one for what is `unknown`; None: none is needed.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        source: str = "the vocabulary",
        added: Iterable[AddedToken] = (),
        unknown: str | None = "[UNK]",
    ) -> None:
        self.tokens = list(tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.source = source
        by_name = {token.content: token for token in added}
        self.added = tuple(token for name, token in by_name.items() if name in self.ids and name not in SPECIAL_TOKENS)
        if not any(self.tokens):
            raise InputError(f"{source} is empty", hint="a vocabulary has one token a line, [UNK] among them")
        if unknown is not None and unknown not in self.ids:
            raise InputError(
                f"{source} has no {unknown} among its {len(self.tokens):,} entries",
                hint="BERT vocabularies need it for unknown characters; is this the right file?",
            )

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def read(cls, path: str | Path) -> Vocab:
        """Read `vocab.txt`. Raises `InputError` if it is missing, empty, not UTF-8 or without [UNK]."""
        refuse_placeholder(Path(path))
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise InputError(f"no vocabulary at {path}", hint="give a directory that holds vocab.txt") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError(
                f"{path}:{line} is not UTF-8",
                hint="convert it, for example with `iconv -f GB18030 -t UTF-8`",
            ) from None
        # Only "\n" ends a line: splitlines would also split at U+2028 and others that are tokens of their own.
        return cls(text.rstrip("\n").split("\n"), source=str(path))

    def added_by_id(self) -> dict[int, AddedToken]:
        """The added tokens by their ids."""
        return {self.ids[token.content]: token for token in self.added}

    def text(self) -> str:
        """The content of `vocab.txt`."""
        return "\n".join(self.tokens) + "\n"

    def recognise(self) -> tuple[Kind, str]:
        """Whether this is a word or a character vocabulary, and the sentence that says why.

        Counted are entries of two or more Chinese characters; `##汉` is a piece and no word, and what was added
        later is whole in either kind. Word-level releases (WoBERT, RoFormer) call themselves `bert` or
        `roformer` like the others: only the entries tell.
        """
        only_whole = {token.content for token in self.added if not token.is_piece}  # in either kind
        entries = [token for token in self.tokens if token not in only_whole]
        words = sum(1 for token in entries if len(token) > 1 and all(map(is_cjk, token)))
        kind: Kind = "word" if words > _WORD_SHARE * len(entries) else "char"
        level = "word" if kind == "word" else "character"
        counted = f"{words:,} of {len(entries):,} entries are words of two or more Chinese characters"
        return kind, f"{level} level: {counted}"
