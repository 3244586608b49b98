import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path="emb.npy", *, rows=300, columns=6, dtype="f4", seed=0):
    chance = np.random.default_rng(seed)
    made = chance.normal(size=(rows, columns)) @ chance.normal(size=(columns, columns)) + 3
    np.save(path, made.astype(dtype))
    return made


def covariance(path):
    return np.cov(np.load(path).astype("f8").T)


def test_one_command(nlpx):
    write()
    outcome = nlpx("whiten", "emb.npy")
    assert (outcome.code, outcome.out) == (0, "emb.whitened.npy\n")
    assert "effective rank" in outcome.err
    assert "mean cosine" in outcome.err
    assert np.abs(covariance("emb.whitened.npy") - np.eye(6)).max() < 1e-5
    facts = json.loads(Path("emb.whitening.json").read_text(encoding="utf-8"))
    assert (facts["rows"], facts["columns"], facts["dim"]) == (300, 6, 6)


def test_the_facts_are_right(nlpx):
    rows = write()
    facts = json.loads(nlpx("whiten", "emb.npy", "--dim", "4", "--json").out)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert facts["mean_cosine_before"] == pytest.approx((unit @ unit.T)[~np.eye(300, dtype=bool)].mean(), abs=1e-6)
    after = np.load("emb.whitened.npy")
    assert after.shape == (300, 4)
    unit = after / np.linalg.norm(after, axis=1, keepdims=True)
    assert facts["mean_cosine_after"] == pytest.approx((unit @ unit.T)[~np.eye(300, dtype=bool)].mean(), abs=1e-6)
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1]
    assert facts["explained_variance"] == pytest.approx(values[:4].sum() / values.sum(), abs=1e-6)


def test_an_earlier_map_on_new_vectors(nlpx):
    write()
    write("new.npy", seed=1)
    assert nlpx("whiten", "emb.npy", "--quiet") == (0, "emb.whitened.npy\n", "")
    words = ("whiten", "new.npy", "--load", "emb.whitening.safetensors", "--quiet")
    assert nlpx(*words) == (0, "new.whitened.npy\n", "")
    assert not Path("new.whitening.safetensors").exists()
    whole = np.load("new.whitened.npy")
    assert nlpx(*words, "--dim", "2", "-o", "two.npy").code == 0
    assert np.array_equal(np.load("two.npy"), whole[:, :2])
    assert nlpx(*words, "--dim", "9").code == 2
    assert nlpx(*words, "--gamma", "0").code == 2


def test_several_files_and_partial_fits_add_up(nlpx):
    rows = write(rows=900, dtype="f8")
    for number in range(3):
        np.save(f"part{number}.npy", rows[300 * number : 300 * (number + 1)])
    fit = [word for number in range(3) for word in ("--fit", f"part{number}.npy")]
    assert nlpx("whiten", *fit, "--save", "whole.safetensors", "--quiet") == (0, "whole.safetensors\n", "")
    for number in range(3):
        assert nlpx("whiten", "--fit", f"part{number}.npy", "--save", f"{number}.safetensors", "--quiet").code == 0
    merge = [word for number in range(3) for word in ("--merge", f"{number}.safetensors")]
    assert nlpx("whiten", *merge, "--save", "sum.safetensors", "--quiet").code == 0
    for name in ("whole", "sum"):
        assert nlpx("whiten", "emb.npy", "--load", f"{name}.safetensors", "-o", f"{name}.npy", "--quiet").code == 0
    assert np.abs(np.load("whole.npy") - np.load("sum.npy")).max() < 1e-9
    assert np.abs(covariance("whole.npy") - np.eye(6)).max() < 1e-9


def test_in_a_pipe(nlpx):
    write()
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    command = [sys.executable, "-m", "nlpx_cli", "whiten", "-", "--save", "t.safetensors"]
    done = subprocess.run(command, input=Path("emb.npy").read_bytes(), capture_output=True, check=True)
    assert np.array_equal(np.load(io.BytesIO(done.stdout)), np.load("emb.whitened.npy"))
    assert b"effective rank" in done.stderr


def test_other_arrays_that_work(nlpx):
    rows = write()
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    np.save("turned.npy", np.asfortranarray(np.load("emb.npy")))
    assert nlpx("whiten", "turned.npy", "--quiet").code == 0
    assert np.array_equal(np.load("turned.whitened.npy"), np.load("emb.whitened.npy"))
    np.save("half.npy", rows.astype("f2"))
    assert nlpx("whiten", "half.npy", "--quiet").code == 0
    assert np.load("half.whitened.npy").dtype == np.float32
    np.save("double.npy", rows)
    assert nlpx("whiten", "double.npy", "--normalize", "--quiet").code == 0
    assert np.abs(np.linalg.norm(np.load("double.whitened.npy"), axis=1) - 1).max() < 1e-12


def test_inspect(nlpx):
    write()
    assert nlpx("whiten", "emb.npy", "--variance", "0.8", "--quiet").code == 0
    outcome = nlpx("whiten", "--inspect", "emb.whitening.safetensors")
    assert outcome.code == 0
    assert "fitted on        300 vectors of 6 dimensions" in outcome.out
    facts = json.loads(nlpx("whiten", "--inspect", "emb.whitening.safetensors", "--json").out)
    assert facts["explained_variance"] >= 0.8


def bad(name):
    if name == "pickled":
        np.save("bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif name == "truncated":
        write("bad.npy")
        Path("bad.npy").write_bytes(Path("bad.npy").read_bytes()[:-100])
    elif name == "text":
        Path("bad.npy").write_text("春天", encoding="utf-8")
    elif name == "not a number":
        rows = write("bad.npy")
        rows[17, 2] = np.nan
        np.save("bad.npy", rows)
    elif name == "bytes turned":
        np.save("bad.npy", write("bad.npy").astype(">f4"))
    else:
        shapes = {"flat": (6,), "integers": (4, 4), "complex": (4, 4), "empty": (0, 4), "few": (5, 6)}
        kinds = {"integers": "i8", "complex": "c16"}
        np.save("bad.npy", np.random.default_rng(0).normal(size=shapes[name]).astype(kinds.get(name, "f4")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pickled", "holds pickled objects, which are never loaded"),
        ("truncated", "truncated: 295 of 300 rows are there"),
        ("text", "no .npy file"),
        ("not a number", "row 17 holds nan in column 2"),
        ("flat", "the shape is (6,)"),
        ("integers", "the numbers are <i8"),
        ("complex", "the numbers are <c16"),
        ("bytes turned", "the numbers are >f4"),
        ("empty", "there is not one vector"),
        ("few", "every two of them would get the cosine -1/4"),
        ("missing", "cannot be opened"),
    ],
)
def test_bad_vectors(nlpx, name, message):
    if name != "missing":
        bad(name)
    outcome = nlpx("whiten", "bad.npy", "-o", "out.npy", "--quiet")
    assert (outcome.code, outcome.out) == (3, "")
    assert message in outcome.err
    assert not Path("out.npy").exists()


def test_bad_words(nlpx):
    write()
    write("wide.npy", columns=7)
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    wrong = nlpx("whiten", "wide.npy", "--load", "emb.whitening.safetensors")
    assert wrong.code == 3
    assert "vectors of 7 numbers; the map takes 6" in wrong.err
    assert nlpx("whiten", "emb.npy", "--fit", "wide.npy", "--fit", "emb.npy").code == 3
    for words in (
        ("emb.npy", "--dim", "2", "--variance", "0.5"),
        ("emb.npy", "--variance", "2"),
        ("emb.npy", "--load", "emb.whitening.safetensors", "--fit", "emb.npy"),
        ("--fit", "emb.npy"),
        ("emb.npy", "--dim", "7"),
    ):
        outcome = nlpx("whiten", *words)
        assert (outcome.code, outcome.out) == (2, ""), words
    assert nlpx("whiten", "emb.npy", "--load", "emb.npy").code == 3


def test_a_plot(nlpx):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    write()
    assert nlpx("whiten", "emb.npy", "--dim", "4", "--plot", "emb.png", "--quiet").code == 0
    assert Path("emb.png").read_bytes()[:4] == b"\x89PNG"
    facts = nlpx("whiten", "--inspect", "emb.whitening.safetensors", "--plot", "again.png", "--json")
    assert json.loads(facts.out)["dim"] == 4
    assert Path("again.png").read_bytes() == Path("emb.png").read_bytes()
    Path("folder").mkdir()
    for words in (("emb.npy", "-o", "out.npy"), ("--inspect", "emb.whitening.safetensors")):
        outcome = nlpx("whiten", *words, "--plot", "folder")
        assert outcome.code == 2
        assert "folder is a folder" in outcome.err
    assert not Path("out.npy").exists()


def test_duplicates_are_warned_of_and_refused(nlpx):
    rows = write()
    np.save("twice.npy", np.concatenate([rows, rows[:60]]))
    outcome = nlpx("whiten", "twice.npy")
    assert outcome.code == 0
    assert "17% of the vectors are duplicates of others" in outcome.err
    np.save("few.npy", np.repeat(rows[:6], 50, axis=0))
    outcome = nlpx("whiten", "few.npy", "-o", "out.npy")
    assert (outcome.code, outcome.out) == (3, "")
    assert "300 vectors, 6 different, cannot be whitened to 6 dimensions" in outcome.err
    assert not Path("out.npy").exists()


def test_stdin_to_fit_on(nlpx):
    rows = write()
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    command = [sys.executable, "-m", "nlpx_cli", "whiten", "--fit", "-", "--save", "piped.safetensors", "--quiet"]
    subprocess.run(command, input=Path("emb.npy").read_bytes(), check=True, capture_output=True)
    assert Path("piped.json").read_text(encoding="utf-8") == Path("emb.whitening.json").read_text(encoding="utf-8")
    np.save("turned.npy", np.asfortranarray(rows))
    command = [sys.executable, "-m", "nlpx_cli", "whiten", "-", "-o", "out.npy"]
    done = subprocess.run(command, input=Path("turned.npy").read_bytes(), capture_output=True, check=False)
    assert done.returncode == 3
    assert b"Fortran order" in done.stderr
    assert not Path("out.npy").exists()


def test_a_stream_that_ends_early(nlpx):
    write()
    for words in (("-", "-o", "out.npy"), ("-", "--load", "t.safetensors", "-o", "out.npy")):
        assert nlpx("whiten", "emb.npy", "--save", "t.safetensors", "--quiet").code == 0
        command = [sys.executable, "-m", "nlpx_cli", "whiten", *words]
        done = subprocess.run(command, input=Path("emb.npy").read_bytes()[:-100], capture_output=True, check=False)
        assert done.returncode == 3
        assert b"stdin: truncated: 295 of 300 rows are there" in done.stderr
        assert not Path("out.npy").exists()


@pytest.mark.usefixtures("nlpx")
def test_a_full_pipe_that_is_closed_early():
    write(rows=50_000)
    words = f"{sys.executable} -m nlpx_cli whiten emb.npy --save t.safetensors -o - | head -c 100 | wc -c"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "100")
    assert "Error" not in done.stderr


def test_on_a_cluster(nlpx):
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    write()
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        words = ("--engine", "dask", "--scheduler", cluster.scheduler_address, "--quiet")
        assert nlpx("whiten", "emb.npy", "-o", "there.npy", "--save", "there.safetensors", *words).code == 0
    assert np.array_equal(np.load("there.npy"), np.load("emb.whitened.npy"))
    for wrong in (("emb.npy", "--scheduler", "tcp://host:1"), ("-", "--engine", "dask", "-o", "out.npy")):
        assert nlpx("whiten", *wrong).code == 2


def test_a_model_with_the_map_as_its_last_layer(nlpx):
    import tiny

    tiny.bert(Path("model"))
    write(columns=16)
    outcome = nlpx("whiten", "emb.npy", "--fold", "model", "-o", "out", "--pooling", "mean", "--quiet")
    assert outcome == (0, "out\n", "")
    assert not Path("emb.whitened.npy").exists()
    assert not Path("emb.whitening.safetensors").exists()
    assert nlpx("whiten", "emb.npy", "--quiet").code == 0
    earlier = ("--load", "emb.whitening.safetensors", "--dim", "3")
    assert nlpx("whiten", *earlier, "--fold", "model", "-o", "three", "--quiet") == (0, "three\n", "")
    facts = json.loads(nlpx("whiten", "--inspect", "three/whitening.safetensors", "--json").out)
    assert (facts["dim"], facts["columns"], facts["pooling"]) == (3, 16, "first-last-avg")
    for words in (
        ("emb.npy", "--fold", "model"),
        ("--fold", "model", "-o", "new"),
        ("emb.npy", *earlier, "--fold", "model", "-o", "new"),
        ("emb.npy", "--fold", "model", "-o", "out"),
        ("emb.npy", "--pooling", "mean"),
    ):
        outcome = nlpx("whiten", *words)
        assert (outcome.code, outcome.out) == (2, ""), words
    write("wide.npy", columns=17)
    assert nlpx("whiten", "wide.npy", "--fold", "model", "-o", "new").code == 3


def test_embedding_with_a_folded_model_gives_whitened_vectors(nlpx):
    texts = ["".join(letters) for letters in itertools.permutations("春夏秋冬", 4)]
    Path("texts.txt").write_text("\n".join(["", *(f"{text}{text[:2]}" for text in texts * 3)]), encoding="utf-8")
    import tiny

    tiny.bert(Path("model"), hidden_size=4, intermediate_size=8)
    embed = ("embed", "texts.txt", "--precision", "float32", "--quiet")
    assert nlpx(*embed, "--model", "model", "-o", "plain.npy").code == 0
    np.save("plain.npy", np.load("plain.npy")[1:])  # without the vector of the empty text
    assert nlpx("whiten", "plain.npy", "--dim", "2", "-o", "expected.npy", "--quiet").code == 0
    assert nlpx("whiten", "plain.npy", "--dim", "2", "--fold", "model", "-o", "folded", "--quiet").code == 0
    assert nlpx(*embed, "--model", "folded", "-o", "found.npy").code == 0
    found = np.load("found.npy")
    assert found.shape == (73, 2)
    assert not found[0].any()  # an empty text is a vector of zeros, whitened or not
    assert np.abs(found[1:] - np.load("expected.npy")).max() < 1e-4
    wrong = nlpx(*embed, "--model", "folded", "--pooling", "cls", "-o", "out.npy")
    assert wrong.code == 2
    assert "for the pooling first-last-avg, not cls" in wrong.err
