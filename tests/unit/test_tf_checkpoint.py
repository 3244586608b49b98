"""TensorFlow checkpoints read without TensorFlow: the format, its checksums, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.errors import InputError
from nlpx.models.checkpoints import crc32c as checksums
from nlpx.models.checkpoints.crc32c import crc32c
from nlpx.models.checkpoints.tf_checkpoint import TFCheckpoint, find_bundle
from nlpx.models.checkpoints.tf_entry import parse_entry, parse_header
from nlpx.models.checkpoints.tf_table import CorruptError, read_table, snappy_decompress

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import tf_bundle_writer as writer  # noqa: E402

LONG_CHECKSUM = 0x1E00491A  # of the long message below, by a byte loop
BUNDLES = TESTS / "fixtures" / "bert4keras" / "bundles"


def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "bert/embeddings/word_embeddings": random.normal(size=(7, 4)).astype(np.float32),
        "bert/encoder/layer_0/output/bias": random.normal(size=4).astype(np.float16),
        "bert/encoder/layer_0/output/kernel": random.normal(size=(4, 4)),
        "bert/encoder/layer_1/output/bias": np.arange(4, dtype=np.int32),
        "scalar": np.array(-(2**40)),
        "空": np.zeros((0, 3), np.float32),
    }


def assert_holds(prefix: Path, expected: dict[str, np.ndarray]) -> None:
    checkpoint = TFCheckpoint(prefix)
    assert sorted(checkpoint.names() + checkpoint.skipped) == sorted(expected)
    for name, values in expected.items():
        read = checkpoint.read(name)
        assert checkpoint.shape(name) == read.shape == values.shape
        assert checkpoint.dtype(name) == read.dtype.name == values.dtype.name
        assert np.array_equal(read, values)
        assert type(read) is np.ndarray
        assert read.flags.writeable
        assert read.flags.c_contiguous


# Checksums


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next three: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_known_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == writer.checksum(data) == expected


@pytest.mark.parametrize("length", [1, 3, 4, 5, 511, 516, 517, 8191, 8197, 12345, 20001])
@pytest.mark.parametrize("window", [1 << 12, 1 << 23])
def test_crc32c_of_any_length(length: int, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_WINDOW", window)
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    before = data.copy()
    assert crc32c(data) == writer.checksum(data.tobytes())
    assert np.array_equal(data, before)


def test_crc32c_of_several_windows() -> None:
    data = (np.arange(9_000_001) % 251).astype(np.uint8)
    assert len(data) > checksums._WINDOW
    assert crc32c(data) == LONG_CHECKSUM
    data[5_000_000] ^= 1
    assert crc32c(data) != LONG_CHECKSUM


# Compression


@given(st.one_of(st.binary(max_size=700), st.text("ab天", max_size=300).map(str.encode)))
def test_snappy_round_trip(data: bytes) -> None:
    assert snappy_decompress(writer.snappy_literals(data)) == data
    assert snappy_decompress(writer.snappy_copies(data)) == data


@given(st.binary(max_size=60))
def test_snappy_damage_is_refused(data: bytes) -> None:
    try:
        output = snappy_decompress(data)
    except CorruptError:
        return
    assert isinstance(output, bytes)


def test_snappy_copies_do_copy() -> None:
    stream = writer.snappy_copies(b"abcd" * 100)
    assert len(stream) < 60
    assert snappy_decompress(stream) == b"abcd" * 100


# Reading


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("block_size", [1, 100, 4096])
@pytest.mark.parametrize("compress", [None, writer.snappy_literals, writer.snappy_copies])
def test_round_trip(tmp_path: Path, num_shards: int, block_size: int, compress) -> None:  # type: ignore[no-untyped-def]
    prefix = tmp_path / "model.ckpt"
    options = {"block_size": block_size, "restart_interval": 3, "compress": compress}
    writer.write_bundle(prefix, tensors(), num_shards=num_shards, **options)
    assert_holds(prefix, tensors())


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.140625, 1e30], np.float32)
    writer.write_bundle(tmp_path / "model.ckpt", {"w": ("bfloat16", values)})
    checkpoint = TFCheckpoint(tmp_path / "model.ckpt")
    read = checkpoint.read("w")
    assert checkpoint.dtype("w") == "bfloat16"
    assert read.dtype == np.float32
    assert np.array_equal(read, (values.view(np.uint32) & 0xFFFF0000).view(np.float32))


def test_bundle_of_tensorflow_with_every_type_two_shards_and_slices() -> None:
    checkpoint = TFCheckpoint(BUNDLES / "mixed.ckpt")
    with np.load(BUNDLES / "mixed.npz", allow_pickle=False) as expected:
        names = {key.replace("|", "/"): key for key in expected.files}
        assert sorted(checkpoint.names() + checkpoint.skipped) == sorted(names)
        for name, key in names.items():
            assert checkpoint.read(name).dtype == expected[key].dtype
            assert np.array_equal(checkpoint.read(name), expected[key]), name
    assert checkpoint.dtype("brain") == "bfloat16"
    assert checkpoint.shape("parts") == (70, 4)
    assert checkpoint.names() == ["brain", "double", "empty", "half", "int32", "int64", "parts", "weights"]


def test_index_compressed_by_snappy_itself() -> None:
    with np.load(BUNDLES / "snappy.npz", allow_pickle=False) as expected:
        assert_holds(BUNDLES / "snappy.ckpt", dict(expected))


@pytest.mark.parametrize(
    "name",
    [
        "global_step",
        "beta1_power",
        "bert/pooler/dense/kernel/adam_m",
        "bert/pooler/dense/kernel/adam_v",
        "bert/pooler/dense/kernel/AdamWeightDecayOptimizer_1",
        "bert/pooler/dense/kernel/LAMB",
        "bert/pooler/dense/kernel/lamb_v",
        "bert/pooler/dense/kernel/ExponentialMovingAverage",
        "bert/pooler/dense/kernel/Momentum",
        "Adam/iterations",
        "training/Adam/bert/pooler/dense/kernel/m",
        "encoder/block_000/layer_000/SelfAttention/q_slot_vc",
        "model/dense/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE",
        "_CHECKPOINTABLE_OBJECT_GRAPH",
    ],
)
def test_what_is_no_weight_is_skipped(tmp_path: Path, name: str) -> None:
    weights = ["bert/pooler/dense/kernel", "lambda/kernel", "momentum_encoder/kernel", "madam/bias", "schema"]
    writer.write_bundle(tmp_path / "model.ckpt", {n: np.zeros(1, np.float32) for n in [*weights, name]})
    checkpoint = TFCheckpoint(tmp_path / "model.ckpt")
    assert checkpoint.skipped == [name]
    assert checkpoint.names() == sorted(weights)


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, nlpx.models.checkpoints.tf_checkpoint; "
        "sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Finding


def test_find_bundle_by_prefix_file_and_directory(tmp_path: Path) -> None:
    prefix = tmp_path / "chinese" / "bert[1].ckpt-10"
    prefix.parent.mkdir()
    writer.write_bundle(prefix, tensors())
    for path in (prefix, writer.index_path(prefix), writer.data_path(prefix), prefix.parent, str(prefix)):
        assert find_bundle(path) == prefix


def test_find_bundle_prefers_the_usual_name(tmp_path: Path) -> None:
    for name in ("other.ckpt", "model.ckpt", "bert_model.ckpt"):
        writer.write_bundle(tmp_path / name, tensors())
    assert find_bundle(tmp_path) == tmp_path / "bert_model.ckpt"
    writer.index_path(tmp_path / "bert_model.ckpt").unlink()
    assert find_bundle(tmp_path) == tmp_path / "model.ckpt"


def test_find_bundle_refuses_several(tmp_path: Path) -> None:
    for name in ("model.ckpt-10", "model.ckpt-20"):
        writer.write_bundle(tmp_path / name, tensors())
    with pytest.raises(InputError, match=r"2 TensorFlow checkpoints: model\.ckpt-10, model\.ckpt-20"):
        find_bundle(tmp_path)


def test_find_bundle_without_one(tmp_path: Path) -> None:
    assert find_bundle(tmp_path) is None
    assert find_bundle(tmp_path / "absent") is None
    (tmp_path / "vectors.index").write_bytes(b"IxF2 a search index of some other program")
    (tmp_path / "folder.index").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)
    assert find_bundle(tmp_path) is None
    assert find_bundle(tmp_path / "model.safetensors") is None


def test_find_bundle_without_index(tmp_path: Path) -> None:
    writer.write_bundle(tmp_path / "model.ckpt", tensors())
    writer.index_path(tmp_path / "model.ckpt").unlink()
    for path in (tmp_path, tmp_path / "model.ckpt", writer.data_path(tmp_path / "model.ckpt")):
        with pytest.raises(InputError, match=r"model\.ckpt\.data-00000-of-00001 is there, but its \.index"):
            find_bundle(path)


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match=r"model\.h5: a Keras"):
        find_bundle(tmp_path / "model.h5")
    (tmp_path / "model.ckpt").write_bytes(writer.table([(b"", b""), (b"w", b"\x0a\x00")]))
    for path in (tmp_path, tmp_path / "model.ckpt"):
        with pytest.raises(InputError, match="old format V1"):
            find_bundle(path)


# Refusals


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    writer.write_bundle(tmp_path / "model.ckpt", tensors(), num_shards=2, block_size=100)
    return tmp_path / "model.ckpt"


def refused(prefix: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        _ = [TFCheckpoint(prefix).read(name) for name in TFCheckpoint(prefix).names()]
    assert str(prefix) in caught.value.message
    assert caught.value.hint


def test_missing_files(prefix: Path) -> None:
    refused(prefix.with_name("absent.ckpt"), "no such file")
    writer.data_path(prefix, 1, 2).unlink()
    refused(prefix, r"data-00001-of-00002: no such file; tensor `bert/encoder/layer_0/output/bias` lies in it")


@pytest.mark.parametrize("compress", [None, writer.snappy_copies])
def test_index_cut_anywhere(prefix: Path, compress) -> None:  # type: ignore[no-untyped-def]
    writer.write_bundle(prefix, tensors(), num_shards=2, block_size=100, compress=compress)
    whole = writer.index_path(prefix).read_bytes()
    for length in range(len(whole)):
        writer.index_path(prefix).write_bytes(whole[:length])
        refused(prefix, "truncated, or not the index")


@pytest.mark.parametrize("compress", [None, writer.snappy_copies])
def test_index_with_any_byte_changed(prefix: Path, compress) -> None:  # type: ignore[no-untyped-def]
    writer.write_bundle(prefix, tensors(), num_shards=2, block_size=100, compress=compress)
    whole = writer.index_path(prefix).read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x41
        writer.index_path(prefix).write_bytes(changed)
        if position < len(whole) - 8 and not any(whole[position:-8]):  # the footer's filling carries nothing
            assert_holds(prefix, tensors())
        else:
            refused(prefix, "damaged|truncated")


def test_truncated_data_names_the_tensor(prefix: Path) -> None:
    path = writer.data_path(prefix, 0, 2)
    path.write_bytes(path.read_bytes()[:-1])
    refused(prefix, r"data-00000-of-00002: truncated; tensor `\S+` ends at byte \d+, the file at \d+")


def test_changed_data_names_the_tensor(prefix: Path) -> None:
    path = writer.data_path(prefix, 0, 2)
    content = bytearray(path.read_bytes())
    content[13] ^= 1
    path.write_bytes(content)
    refused(prefix, r"data-00000-of-00002: tensor `bert/embeddings/word_embeddings` is damaged \(wrong checksum\)")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": 7}, "tensor `w` has TensorFlow's data type 7"),
        ({"shape": (3, 3)}, r"tensor `w` of shape \[3, 3\] and type float32 has 16 bytes"),
        ({"shape": (2**63, 2)}, "tensor `w` of shape"),
        ({"checksum": 0}, "tensor `w` is damaged"),
        ({"offset": 2**62}, "truncated; tensor `w`"),
        ({"shard": 5}, "data-00005-of-00001: no such file; tensor `w`"),
    ],
)
def test_wrong_entries(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    prefix = tmp_path / "model.ckpt"
    writer.write_bundle(prefix, {"w": np.ones((2, 2), np.float32)}, changes={"w": fields})
    refused(prefix, message)


def test_big_endian(tmp_path: Path) -> None:
    writer.write_bundle(tmp_path / "model.ckpt", tensors(), big_endian=True)
    refused(tmp_path / "model.ckpt", "big-endian")


def test_a_table_that_is_no_checkpoint(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt"
    writer.index_path(prefix).write_bytes(writer.table([(b"key", b"value")]))
    refused(prefix, "a table, but not the index")
    for entry in (b"\xff", b"\x12\xff", b"\x0f", b"\x12\x02\x12\x01", b"\x0a\x01a", b"\x10\x01"):
        header = writer.number(1, 1)
        writer.index_path(prefix).write_bytes(writer.table([(b"", header), (b"w", entry)]))
        refused(prefix, "tensor `w`")


@given(st.binary(max_size=40))
def test_messages_of_any_bytes_are_parsed_or_refused(message: bytes) -> None:
    for parse in (parse_header, parse_entry):
        try:
            parse(message)
        except CorruptError:
            continue


def test_slice_that_is_missing(tmp_path: Path) -> None:
    source = BUNDLES / "mixed.ckpt"
    items = list(read_table(writer.index_path(source)).items())
    items.remove(next(item for item in items if item[0].startswith(b"\0parts")))
    prefix = tmp_path / "mixed.ckpt"
    writer.index_path(prefix).write_bytes(writer.table(items))
    for shard in (0, 1):
        writer.data_path(prefix, shard, 2).write_bytes(writer.data_path(source, shard, 2).read_bytes())
    with pytest.raises(InputError, match="slices of tensor `parts` are missing"):
        TFCheckpoint(prefix).read("parts")


def test_unknown_name(prefix: Path) -> None:
    with pytest.raises(InputError, match="no tensor `absent`"):
        TFCheckpoint(prefix).read("absent")
