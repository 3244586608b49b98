"""SPACES: long texts are summarised by taking sentences, then writing from them (Su Jianlin, kexue.fm/archives/8046).

Here are its parts, each of use alone: where sentences and clauses lie, which of them a summary was made from, which of
its tokens are copied, and TextRank, which takes sentences without having learned anything.
"""
