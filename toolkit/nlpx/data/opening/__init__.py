"""How every file of rows or texts is opened: where it is, what it is packed with, what it is, its encoding, its form.

Rows (`data/rows`) and corpora (`data/corpus`) both stand on this: the same paths, the same formats, the same sentences.
"""
