"""TensorFlow checkpoints ("bundles", format V2) read without TensorFlow.

A bundle `bert_model.ckpt` is a set of files: `bert_model.ckpt.index` (names, shapes, places, checksums; see
`tf_table` and `tf_entry`) and data files `bert_model.ckpt.data-00000-of-00001`, ... with the plain little-endian
numbers. A `.meta` file and a text file `checkpoint` may lie beside them; nothing here needs them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nlpx.errors import InputError
from nlpx.models.checkpoints.crc32c import crc32c, masked
from nlpx.models.checkpoints.tf_entry import Entry, parse_entry, parse_header, slice_order, slice_owner
from nlpx.models.checkpoints.tf_table import MAGIC, CorruptError, read_table

# The numbers of TensorFlow's DataType; bfloat16 is the upper half of a float32, and numpy has no name for it.
_DTYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 14: "bfloat16", 19: "float16"}
_STORED_AS = {
    "bfloat16": "<u2",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int32": "<i4",
    "int64": "<i8",
}

# Variables of training beside the weights: optimizer slots, step counters, averaged copies, Keras' object graph.
_OPTIMIZER = r"(?:lazy_?)?(?:adam|lamb(?!da)|adafactor)[^/]*"
_SLOT = r"(?:momentum|rmsprop|adagrad|exponentialmovingaverage|ema)(?:_\d+)?"
_COUNTER = r"global_step|save_counter|beta[12]_power(?:_\d+)?|_checkpointable_object_graph"
_NOT_WEIGHTS = re.compile(
    rf"(?:^|/){_OPTIMIZER}(?:/|$)|/{_SLOT}$|(?:^|/)(?:{_COUNTER})(?:/|$)|_slot_(?:m|v[rc]?)$|/\.optimizer_slot/",
    re.IGNORECASE,
)
_COPY_AGAIN = "copy or download the checkpoint again, with its .index and all its .data files"


def find_bundle(path: str | Path) -> Path | None:
    """The prefix of the bundle at `path` (a directory, a prefix, or one of its files), or None if none is there.

    In a directory `bert_model.ckpt` wins, then `model.ckpt`, then the only `*.index`. Raises `InputError` if there are
    several, if only data files are there, or if the file is an older checkpoint (V1) or a Keras `.h5`.
    """
    path = Path(path)
    if path.is_dir():
        return _bundle_in(path)
    prefix = path.with_name(re.sub(r"\.(?:index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    if _index_of(prefix).is_file():
        return prefix
    _refuse_index_missing(prefix, path.parent.glob(f"{_escape(prefix.name)}.data-*"))
    if path.is_file():
        _refuse_other_format(path)
    return None


def _bundle_in(directory: Path) -> Path | None:
    found = sorted(index.with_suffix("") for index in directory.glob("*.index") if _looks_like_index(index))
    names = [prefix.name for prefix in found]
    for usual in ("bert_model.ckpt", "model.ckpt"):
        if usual in names:
            return directory / usual
        if (directory / usual).is_file():
            _refuse_other_format(directory / usual)
    if len(found) > 1:
        raise InputError(
            f"{directory}: {len(found)} TensorFlow checkpoints: {', '.join(names)}",
            hint=f"name one of them, for example {found[-1]}",
        )
    if not found:
        _refuse_index_missing(directory, directory.glob("*.ckpt*.data-?????-of-?????"))
    return found[0] if found else None


def _looks_like_index(path: Path) -> bool:
    """Other programs write `.index` files too; a damaged one of ours still has its data files beside it."""
    if not path.is_file():
        return False
    return _tail(path) == MAGIC or any(path.parent.glob(f"{_escape(path.stem)}.data-*"))


def _tail(path: Path) -> bytes:
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - len(MAGIC)))
        return handle.read()


def _refuse_index_missing(where: Path, data_files: Iterable[Path]) -> None:
    data_file = min(data_files, default=None)
    if data_file is not None:
        raise InputError(f"{where}: {data_file.name} is there, but its .index file is missing", hint=_COPY_AGAIN)


def _refuse_other_format(path: Path) -> None:
    with path.open("rb") as handle:
        start = handle.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        raise InputError(
            f"{path}: a Keras .h5 file, which is not read",
            hint="save the model as a TensorFlow checkpoint (bert4keras: save_weights_as_checkpoint) or as safetensors",
        )
    if _tail(path) == MAGIC:
        raise InputError(
            f"{path}: a TensorFlow checkpoint of the old format V1, which is not read",
            hint="load it in TensorFlow 1 and save it with tf.train.Saver(), whose default is V2",
        )


def _is_of_objects(keys: Iterable[bytes]) -> bool:
    """Whether no variable has a name: Keras' own checkpoints number them. A step counter tells nothing."""
    named = [key for key in keys if key and not _NOT_WEIGHTS.search(key.decode(errors="replace"))]
    return bool(named) and all(key.endswith(b"/.ATTRIBUTES/VARIABLE_VALUE") for key in named)


class TFCheckpoint:
    """The tensors of one bundle. Opening it reads the index, verifies its checksums and the sizes of the data files.

    `skipped` lists the variables that are no weights (optimizer slots, step counters, averaged copies).
    Raises `InputError` naming the file, and the tensor where there is one.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.prefix = Path(prefix)
        self.index = _index_of(self.prefix)
        if not self.index.is_file():
            raise InputError(f"{self.index}: no such file", hint=_COPY_AGAIN)
        table = read_table(self.index)
        if _is_of_objects(table):
            raise InputError(
                f"{self.prefix}: a Keras object checkpoint, whose names say nothing of the model",
                hint="in bert4keras write it with save_weights_as_checkpoint",
            )
        self._read_header(table.pop(b"", None))
        self._slices: dict[str, list[Entry]] = {}
        self._entries: dict[str, Entry] = {}
        self._read_entries(table)
        self._check_files()
        self.skipped = [name for name in self._entries if _NOT_WEIGHTS.search(name)]

    def names(self) -> list[str]:
        """The names of the weights, sorted."""
        return [name for name in self._entries if not _NOT_WEIGHTS.search(name)]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """The number type a tensor is stored in, such as `float32` or `bfloat16`."""
        return self._dtype(name, self._entry(name))

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor, a fresh array; its checksum is verified.

        The type is the stored one, except that bfloat16 comes as float32 (exact; numpy has no bfloat16).
        Raises `InputError` for a wrong checksum, a slice that is missing, or a type that holds no numbers.
        """
        entry = self._entry(name)
        if not entry.slices:
            return self._read_data(name, entry, entry.shape)
        return self._join(name, entry)

    def _read_header(self, message: bytes | None) -> None:
        if message is None:
            raise InputError(
                f"{self.index}: a table, but not the index of a TensorFlow checkpoint",
                hint="name the .index file that tf.train.Saver wrote",
            )
        with self._damage_named("header"):
            header = parse_header(message)
        if header.big_endian:
            raise InputError(
                f"{self.prefix}: written on a big-endian machine, which is not read",
                hint="load it in TensorFlow on such a machine and export the weights as safetensors",
            )
        self._num_shards = header.num_shards

    def _read_entries(self, table: dict[bytes, bytes]) -> None:
        for key, message in table.items():
            is_slice = key.startswith(b"\x00")
            name = (slice_owner(key) if is_slice else key).decode("utf-8", "replace")
            with self._damage_named(f"entry of tensor `{name}`"):
                entry = parse_entry(message)
            if is_slice:
                self._slices.setdefault(name, []).append(entry)
            else:
                self._entries[name] = entry

    @contextmanager
    def _damage_named(self, what: str) -> Iterator[None]:
        try:
            yield
        except CorruptError as error:
            raise InputError(f"{self.index}: damaged {what} ({error})", hint=_COPY_AGAIN) from error

    def _check_files(self) -> None:
        """Refuse missing and truncated data files at once, instead of after reading half of the tensors."""
        sizes: dict[int, int] = {}
        for name, entry in self._stored():
            shard = self._shard(entry)
            if entry.shard not in sizes:
                if not shard.is_file():
                    raise InputError(f"{shard}: no such file; tensor `{name}` lies in it", hint=_COPY_AGAIN)
                sizes[entry.shard] = shard.stat().st_size
            if entry.offset + entry.size > sizes[entry.shard]:
                raise InputError(
                    f"{shard}: truncated; tensor `{name}` ends at byte {entry.offset + entry.size}, "
                    f"the file at {sizes[entry.shard]}",
                    hint=_COPY_AGAIN,
                )

    def _stored(self) -> Iterable[tuple[str, Entry]]:
        for name, entry in self._entries.items():
            yield from ((name, part) for part in (self._slices.get(name, []) if entry.slices else [entry]))

    def _shard(self, entry: Entry) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._num_shards:05d}")

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise InputError(f"{self.prefix}: no tensor `{name}`")
        return self._entries[name]

    def _dtype(self, name: str, entry: Entry) -> str:
        if entry.dtype not in _DTYPES:
            raise InputError(
                f"{self.prefix}: tensor `{name}` has TensorFlow's data type {entry.dtype}, which is not read",
                hint=f"types read: {', '.join(sorted(_DTYPES.values()))}",
            )
        return _DTYPES[entry.dtype]

    def _read_data(self, name: str, entry: Entry, shape: tuple[int, ...]) -> np.ndarray:
        dtype = self._dtype(name, entry)
        stored = np.dtype(_STORED_AS[dtype])
        if entry.size != math.prod(shape) * stored.itemsize:
            raise InputError(
                f"{self.index}: tensor `{name}` of shape {list(shape)} and type {dtype} has {entry.size} bytes",
                hint=_COPY_AGAIN,
            )
        values = self._checked_bytes(name, entry).view(stored)
        if dtype == "bfloat16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(shape).astype(values.dtype.newbyteorder("="))

    def _checked_bytes(self, name: str, entry: Entry) -> np.ndarray:
        shard = self._shard(entry)
        data = np.empty(0, np.uint8)
        if entry.size:  # an empty range cannot be mapped
            data = np.asarray(np.memmap(shard, np.uint8, "r", entry.offset, (entry.size,)))
        if masked(crc32c(data)) != entry.checksum:
            raise InputError(f"{shard}: tensor `{name}` is damaged (wrong checksum)", hint=_COPY_AGAIN)
        return data

    def _join(self, name: str, entry: Entry) -> np.ndarray:
        """A partitioned variable: its slices lie under keys that sort as their places do."""
        parts = self._slices.get(name, [])
        places = sorted(entry.slices, key=slice_order)
        if len(parts) != len(places) or sum(math.prod(part.shape) for part in parts) != math.prod(entry.shape):
            raise InputError(f"{self.index}: slices of tensor `{name}` are missing", hint=_COPY_AGAIN)
        joined: np.ndarray | None = None
        for part, extents in zip(parts, places, strict=True):
            values = self._read_data(name, part, part.shape)
            joined = np.empty(entry.shape, values.dtype) if joined is None else joined
            joined[_place(extents)] = values
        assert joined is not None  # entry.slices is not empty
        return joined


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _place(extents: Iterable[tuple[int, int | None]]) -> tuple[slice, ...]:
    return tuple(slice(start, None if length is None else start + length) for start, length in extents)


def _escape(name: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", name)
