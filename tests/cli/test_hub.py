"""Models from the hub, against a small one on the loopback address: online, offline and broken."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import sentence_transformers_folders as folders
from tests import tiny
from tests.cli.conftest import Nlpx, Outcome
from tests.loopback_hub import MAIN, PAGE, TAGGED, Handler, LoopbackHub, serving

from nlpx.models.checkpoints import hub as names
from nlpx.models.checkpoints.hub import watching

NAME = "org/model"
Broken = Callable[[Handler, str], bool]
COMMANDS = ("inspect", "embed", "finetune")
BARS = ("it/s", "B/s", "Fetching ", "Downloading", "%|")
SHORT = tiny.settings("data.max_length=24")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "model"
    tiny.bert(folder)
    return folder


@pytest.fixture
def hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub with one model; the library, which reads its environment once, is pointed to it and to an empty cache."""
    from huggingface_hub import close_session, constants

    with serving() as server:
        server.add(NAME, checkpoint)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 60)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        names.snapshot.cache_clear()
        yield server
        names.snapshot.cache_clear()
        close_session()


@pytest.fixture
def run(hub: LoopbackHub, nlpx: Nlpx, tmp_path: Path) -> Callable[..., Outcome]:
    """A command on a model of the hub, with the memory of one process."""
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(30))
    (tmp_path / "texts.txt").write_text("春风\n夏雨\n", encoding="utf-8")

    def call(command: str, name: str = NAME, *more: str) -> Outcome:
        names.snapshot.cache_clear()
        assert hub.url.startswith("http://127.0.0.1:")
        rows, out = str(tmp_path / "rows.jsonl"), str(tmp_path / "out")
        words = {
            "inspect": ["inspect", name],
            "embed": ["embed", str(tmp_path / "texts.txt"), "--model", name, "--out", f"{out}.npy"],
            "finetune": ["finetune", "--data", rows, "--model", name, "--out", out, "--dry-run", *SHORT],
        }[command]
        return nlpx(*words, *more)

    return call


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def refusing(status: int, code: str | None = None, message: str = "", **headers: str) -> Broken:
    def answer(request: Handler, _: str) -> bool:
        request.refuse(status, code, message, **headers)
        return True

    return answer


def on_weights(answer: Callable[[Handler, bytes], object], *, command: str = "GET") -> Broken:
    """Something else than the weights where they are asked for; everything else as it should be."""

    def one(request: Handler, path: str) -> bool:
        if request.command != command or not path.endswith("model.safetensors"):
            return False
        answer(request, request.server.repositories[NAME]["model.safetensors"])
        return True

    return one


# --- as it should be


@pytest.mark.parametrize("command", COMMANDS)
def test_online_then_offline(run, hub, command, monkeypatch, tmp_path):
    """Fetched once, said once, and nothing of the library's own on stderr."""
    done = run(command)
    assert done.code == 0, done.err
    assert done.err.count(f"{NAME}: fetching it from {hub.url}\n") == 1
    assert not [bar for bar in BARS if bar in done.err]
    assert str(tmp_path / "home") not in done.err
    hub.requests.clear()
    done = run(command)
    assert done.code == 0, done.err
    assert not [request for request in hub.requests if "/resolve/" in request]
    hub.requests.clear()
    offline(monkeypatch)
    assert run(command).code == 0
    assert not hub.requests


@pytest.mark.parametrize("mode", ["--quiet", "--json", None])
def test_bars_are_for_people_at_a_terminal(run, mode, monkeypatch):
    monkeypatch.setattr("nlpx_cli.console.sys.stderr.isatty", lambda: True)
    done = run("embed", NAME, *([mode] if mode else []))
    assert done.code == 0
    if mode is None:
        assert [bar for bar in BARS if bar in done.err]
    else:
        assert done.err == ""


def test_an_encoder_of_transformers(run, hub, tmp_path):
    """It loads what was fetched, asks the hub for nothing more, and says nothing of its own."""
    tiny.checkpoint(tmp_path / "other", "DistilBertConfig", "DistilBertModel")
    hub.add("org/other", tmp_path / "other")
    done = run("embed", "org/other")
    assert done.code == 0, done.err
    assert not [bar for bar in BARS if bar in done.err]
    assert str(tmp_path / "home") not in done.err
    asked = [request for request in hub.requests if request.startswith("GET ") and "/resolve/" in request]
    assert len(asked) == len(set(asked))
    assert all("org/other" in request for request in hub.requests)


def test_large_files_elsewhere(run, hub):
    """The hub redirects to its storage, which knows nothing of repositories; what fails there is told too."""
    with serving() as storage:
        hub.storage = storage.url
        storage.broken = refusing(503)
        done = run("inspect")
        assert (done.code, done.out) == (4, "")
        assert f"Error: {NAME}: {hub.url} answers 503 (Service Unavailable)\n" in done.err
        weights = hub.repositories[NAME]["model.safetensors"]
        storage.broken = lambda request, _: not request.send(200, weights, {})
        assert run("inspect").code == 0
        assert {request.split()[1] for request in storage.requests} == {"/model.safetensors"}


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://name:secret@127.0.0.1:1", "and http://127.0.0.1:1 cannot be reached (Connection refused)"),
        ("mirror.example", "and cannot be fetched: Request URL is missing an 'http://' or 'https://' protocol."),
    ],
)
def test_another_endpoint(run, monkeypatch, endpoint, said):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert said in done.err
    assert "secret" not in done.err


def test_an_environment_of_a_real_process(hub, nlpx_process, tmp_path):
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "other"), "HF_HUB_OFFLINE": "0"}
    done = nlpx_process("inspect", NAME, "--json", environment=settings)
    assert (done.code, done.err) == (0, "")
    assert Path(json.loads(done.out)["path"]).is_relative_to(tmp_path / "other")


@pytest.mark.parametrize(("revision", "commit"), [("v1", TAGGED), ("refs/pr/1", TAGGED), (MAIN, MAIN)])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_revision(run, hub, command, revision, commit):
    done = run(command, f"{NAME}@{revision}")
    assert done.code == 0, done.err
    fetched = [request for request in hub.requests if "/resolve/" in request]
    assert fetched
    assert all(f"/resolve/{commit}/" in request for request in fetched)


def test_a_sentence_transformers_repository_of_the_older_layout(run, hub, tmp_path):
    tiny.bert(tmp_path / "st", "BertModel")
    layer = (torch.randn(5, 16), None, "torch.nn.modules.linear.Identity")
    folders.around(tmp_path / "st", pooling={"pooling_mode_cls_token": True}, dense=layer, subfolder=True)
    for place in ("0_Transformer", "2_Dense"):  # weights of PyTorch alone
        file = tmp_path / "st" / place / "model.safetensors"
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    hub.add("org/similar", tmp_path / "st")
    outcome = run("embed", "org/similar")
    assert outcome.code == 0, outcome.err
    assert "pooling cls, a linear layer to 5 numbers" in outcome.err
    assert "2 vectors of 5 numbers" in outcome.err


def test_weights_of_pytorch(run, hub, checkpoint):
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint.parent / "weights.bin")
    del hub.repositories[NAME]["model.safetensors"]
    hub.repositories[NAME]["pytorch_model.bin"] = (checkpoint.parent / "weights.bin").read_bytes()
    assert run("inspect").code == 0


def test_weights_of_pytorch_in_a_folder(run, hub, checkpoint, tmp_path):
    """As older sentence-transformers repositories have them."""
    torch.save(load_file(checkpoint / "model.safetensors"), tmp_path / "weights.bin")
    parts = [("Transformer", "0_Transformer"), ("Pooling", "1_Pooling")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(parts)
    ]
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    files = hub.repositories[NAME]
    hub.repositories[NAME] = {
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": json.dumps(pooling).encode(),
        "0_Transformer/config.json": files["config.json"],
        "0_Transformer/vocab.txt": files["vocab.txt"],
        "0_Transformer/pytorch_model.bin": (tmp_path / "weights.bin").read_bytes(),
    }
    done = run("embed")
    assert done.code == 0, done.err


# --- refusals

REFUSALS = {
    "wrong token": (
        refusing(401, None, "Invalid credentials in Authorization header"),
        3,
        "{url} does not know the token it was sent",
        "set HF_TOKEN to a valid one",
    ),
    "gated, a stranger": (
        refusing(401, "GatedRepo", "Access to model org/model is restricted."),
        3,
        "{url} gives it only to those who have accepted its terms",
        "accept them at {url}/org/model, and set HF_TOKEN",
    ),
    "gated, not on the list": (
        refusing(403, "GatedRepo"),
        3,
        "{url} gives it only to those who have accepted its terms",
        "accept them at {url}/org/model, and set HF_TOKEN",
    ),
    "forbidden": (refusing(403), 3, "{url} refuses access (403)", "set HF_TOKEN to a token that may read it"),
    "unknown": (refusing(404, "RepoNotFound"), 3, "{url} has no such repository, or only a private one", "HF_TOKEN"),
    "unknown to a mirror": (refusing(404), 3, "{url} has no such repository, or only a private one", "HF_TOKEN"),
    "too many": (
        refusing(429, Retry_After="3600"),
        4,
        "{url} has had too many requests from here (429)",
        "try again in 3,600 seconds",
    ),
    "too many, by its own header": (
        refusing(429, RateLimit='"api";r=0;t=55'),
        4,
        "{url} has had too many requests from here (429)",
        "try again in 55 seconds",
    ),
    "500": (refusing(500), 4, "{url} answers 500 (Internal Server Error)", "try again later, or set HF_ENDPOINT"),
    "503": (
        refusing(503, Retry_After="120"),
        4,
        "{url} answers 503 (Service Unavailable)",
        "try again in 120 seconds, or set HF_ENDPOINT",
    ),
    "proxy": (refusing(407), 4, "{url} answers 407 (Proxy Authentication Required)", "HF_ENDPOINT"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal(run, hub, command, kind, tmp_path):
    broken, code, said, hint = REFUSALS[kind]
    hub.broken = broken
    done = run(command)
    assert (done.code, done.out) == (code, "")
    expected = f"{NAME}: no such directory, not in the cache, and {said.format(url=hub.url)}"
    assert f"Error: {expected}\n  " in done.err
    assert hint.format(url=hub.url) in done.err
    assert str(tmp_path / "home") not in done.err


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_with_a_copy_in_the_cache(run, hub, kind):
    assert run("inspect").code == 0
    hub.broken, _, said, _ = REFUSALS[kind]
    done = run("inspect")
    assert done.code == 0
    assert f"{NAME}: {said.format(url=hub.url)}; the copy in the cache is used\n" in done.err


@pytest.mark.parametrize("kind", ["wrong token", "gated, a stranger", "forbidden", "too many", "500", "503"])
@pytest.mark.parametrize("command", ["HEAD", "GET"])
def test_a_refusal_in_the_middle(run, hub, kind, command):
    """The look-up goes well, a file does not."""
    broken, code, said, _ = REFUSALS[kind]
    hub.broken = on_weights(lambda request, _: broken(request, "") and None, command=command)
    done = run("inspect")
    assert (done.code, done.out) == (code, "")
    assert f"Error: {NAME}: {said.format(url=hub.url)}\n" in done.err


def test_json_errors(run, hub):
    hub.broken = refusing(503)
    done = run("inspect", NAME, "--json")
    told = json.loads(done.err)
    assert (done.code, done.out, told["exit"]) == (4, "", 4)
    assert told["error"].endswith("answers 503 (Service Unavailable)")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_such_repository(run, hub, command):
    done = run(command, "org/modle")
    assert (done.code, done.out) == (3, "")
    assert f"org/modle: no such directory, not in the cache, and {hub.url} has no such repository" in done.err


@pytest.mark.parametrize("cached", [True, False])
def test_no_such_revision(run, hub, cached):
    if cached:
        assert run("inspect").code == 0
    done = run("inspect", f"{NAME}@v2")
    assert (done.code, done.out) == (3, "")
    assert f"Error: {NAME}@v2: the repository has no revision `v2`\n" in done.err
    assert f"{hub.url}/{NAME}/tree/main" in done.err


def test_a_file_that_is_listed_only(run, hub):
    def answer(request: Handler, _: bytes) -> None:
        request.refuse(404, "EntryNotFound")

    hub.broken = on_weights(answer, command="HEAD")
    done = run("inspect")
    assert done.code == 3
    assert f"Error: {NAME}: the repository lists a file model.safetensors and does not give it (404)\n" in done.err


@pytest.mark.parametrize("name", ["a b/c", "a--b", "org/model@", "@v1"])
def test_no_name_of_a_repository(run, hub, name):
    done = run("inspect", name)
    assert done.code == 3
    assert name in done.err
    assert not hub.requests


# --- something else comes


def page(request: Handler, _: str) -> bool:
    request.send(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_of_a_proxy(run, hub, command):
    hub.broken = page
    done = run(command)
    assert (done.code, done.out) == (4, "")
    said = f"a web page comes instead of an answer of {hub.url}: a proxy or a login stands in between"
    assert f"Error: {NAME}: no such directory, not in the cache, and {said}\n" in done.err


def test_an_answer_that_is_no_hubs(run, hub):
    def answer(request: Handler, _: str) -> bool:
        request.send(200, b"It works!", {"Content-Type": "text/plain"})
        return True

    hub.broken = answer
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"and {hub.url} does not answer as the hub does\n" in done.err


@pytest.mark.parametrize("kind", ["html", "binary"])
def test_a_page_in_place_of_weights(run, hub, kind):
    """With its own type, or as any file and as long as the weights; then it is not kept."""

    def answer(request: Handler, weights: bytes) -> None:
        body = PAGE if kind == "html" else PAGE.ljust(len(weights))
        request.send(200, body, {"Content-Type": "text/html"} if kind == "html" else {})

    hub.broken = on_weights(answer)
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    said = {"html": "a web page comes instead of an answer of", "binary": "an HTML page came in place of model.safe"}
    assert f"Error: {NAME}: {said[kind]}" in done.err
    hub.broken = None
    assert run("inspect").code == 0


def test_a_wrong_hash(run, hub):
    hub.broken = on_weights(lambda request, weights: request.send(200, bytes(len(weights)), {}))
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: model.safetensors arrived damaged: its SHA-256 is not the one the hub tells\n" in done.err
    hub.broken = None
    assert run("inspect").code == 0


def test_weights_cut_short(run, hub, monkeypatch):
    """The connection ends early each time: the library alone would try for ever."""
    monkeypatch.setattr(watching, "TRIES", 1)
    hub.broken = on_weights(
        lambda request, weights: request.send(200, weights[: len(weights) // 2], {}, size=len(weights))
    )
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: {hub.url} broke off before everything had come\n" in done.err
    assert "try again: files that are complete are kept" in done.err


def test_weights_that_are_short(run, hub):
    hub.broken = on_weights(lambda request, weights: request.send(200, weights[:1000], {}))
    size = len(hub.repositories[NAME]["model.safetensors"])
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: model.safetensors was cut short: 1,000 of {size:,} bytes arrived\n" in done.err


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt"])
def test_a_page_in_the_cache(run, name, tmp_path, monkeypatch):
    assert run("inspect").code == 0
    (file,) = (tmp_path / "home").glob(f"hub/models--org--model/snapshots/*/{name}")
    right = file.read_bytes()
    file.resolve().write_bytes(PAGE)
    with monkeypatch.context() as patched:
        offline(patched)
        done = run("inspect")
    assert (done.code, done.out) == (3, "")
    assert f"Error: {NAME}: {name} in the cache is an HTML page, and the hub cannot be asked for the file\n" in done.err
    done = run("inspect")
    assert done.code == 0
    assert f"{NAME}: {name} in the cache is an HTML page; it is fetched anew\n" in done.err
    assert file.read_bytes() == right


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_part_in_the_cache(run, hub, name, tmp_path, checkpoint, monkeypatch):
    if name == "pytorch_model.bin":
        torch.save(load_file(checkpoint / "model.safetensors"), tmp_path / name)
        hub.repositories[NAME] = {**hub.repositories[NAME], name: (tmp_path / name).read_bytes()}
        del hub.repositories[NAME]["model.safetensors"]
    assert run("inspect").code == 0
    (file,) = (tmp_path / "home").glob(f"hub/models--org--model/snapshots/*/{name}")
    right = file.read_bytes()
    file.resolve().write_bytes(right[:2000])
    with monkeypatch.context() as patched:
        offline(patched)
        done = run("inspect")
    assert (done.code, done.out) == (3, "")
    assert (
        f"{NAME}: {name} in the cache is cut short or damaged, and the hub cannot be asked for the file\n" in done.err
    )
    done = run("inspect")
    assert done.code == 0
    assert f"{NAME}: {name} in the cache is cut short or damaged; it is fetched anew\n" in done.err
    assert file.read_bytes() == right


def test_a_part_in_the_repository(run, hub):
    weights = hub.repositories[NAME]["model.safetensors"]
    hub.repositories[NAME]["model.safetensors"] = weights[:2000]
    for _ in range(2):
        done = run("inspect")
        assert (done.code, done.out) == (3, "")
        assert f"Error: {NAME}/model.safetensors: truncated or not a safetensors file" in done.err


def test_messages_name_the_repository(run, hub, tmp_path):
    hub.repositories[NAME]["config.json"] = b'{"model_type": "bert",'
    done = run("inspect")
    assert (done.code, done.out) == (3, "")
    assert f"Error: {NAME}/config.json:1:" in done.err
    assert str(tmp_path / "home") not in done.err


# --- no answer


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_never_answers(run, hub, command, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.broken = lambda *_: hub.closing.wait(60)
    done = run(command)
    assert (done.code, done.out) == (4, "")
    said = f"{hub.url} does not answer: nothing came for 0.2 seconds"
    assert f"Error: {NAME}: no such directory, not in the cache, and {said}\n" in done.err
    assert "HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer" in done.err


def test_weights_that_never_come(run, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(watching, "TRIES", 1)
    hub.broken = on_weights(lambda *_: hub.closing.wait(60))
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: {hub.url} does not answer: nothing came for 0.5 seconds\n" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_connection(run, hub, command):
    hub.server_close()
    done = run(command)
    assert (done.code, done.out) == (4, "")
    said = f"{hub.url} cannot be reached (Connection refused)"
    assert f"Error: {NAME}: no such directory, not in the cache, and {said}\n" in done.err
    assert "  set HF_ENDPOINT to a mirror, or give a local directory\n" in done.err


def test_a_refused_connection_with_a_copy_in_the_cache(run, hub):
    from huggingface_hub import close_session

    assert run("inspect").code == 0
    close_session()  # with the connection that the server still answers on
    hub.server_close()
    done = run("inspect")
    assert done.code == 0
    assert f"{NAME}: {hub.url} does not answer; the copy in the cache is used\n" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_offline_without_a_copy(run, hub, command, monkeypatch):
    offline(monkeypatch)
    done = run(command)
    assert (done.code, done.out) == (4, "")
    said = f"Error: {NAME}: no such directory, and not in the cache (offline mode is on)\n  unset HF_HUB_OFFLINE"
    assert said in done.err
    assert not hub.requests


def test_offline_with_a_part(run, monkeypatch, tmp_path):
    assert run("inspect").code == 0
    (file,) = (tmp_path / "home").glob("hub/models--org--model/snapshots/*/model.safetensors")
    file.unlink()
    offline(monkeypatch)
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: the cache has " in done.err
    assert "unset HF_HUB_OFFLINE" in done.err


# --- the disk


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "no space left on the disk\n  free some space, or set HF_HOME",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "it cannot be written\n  check its owner and rights"),
    ],
)
def test_a_cache_that_takes_nothing(run, tmp_path, monkeypatch, error, said):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    done = run("inspect")
    assert (done.code, done.out) == (4, "")
    assert f"Error: {NAME}: cannot be kept in the cache {tmp_path / 'home' / 'hub'}: {said}" in done.err


# --- weights of other kinds


@pytest.mark.parametrize(
    ("file", "said", "way_out"),
    [
        ("tf_model.h5", "only tf_model.h5 (Keras)", "save it as safetensors"),
        ("flax_model.msgpack", "only flax_model.msgpack (Flax)", "save it as safetensors"),
        ("model-q4.gguf", "only model-q4.gguf (GGUF, quantised)", "the quantised weights were made from"),
        ("bert_model.ckpt.index", "only bert_model.ckpt.index (TensorFlow)", "download its files to a directory"),
    ],
)
def test_other_weights_only(run, hub, file, said, way_out):
    hub.repositories[NAME][file] = hub.repositories[NAME].pop("model.safetensors")
    for command in COMMANDS:
        done = run(command)
        assert (done.code, done.out) == (3, "")
        assert f"Error: {NAME}: no weights in safetensors or PyTorch form, {said}\n" in done.err
        assert way_out in done.err
        assert not [request for request in hub.requests if request.endswith(file)]


def test_no_weights_at_all(run, hub):
    del hub.repositories[NAME]["model.safetensors"]
    done = run("inspect")
    assert (done.code, done.out) == (3, "")
    assert f"Error: {NAME}: the repository has no weights\n" in done.err


def test_a_local_folder_wins(run, hub, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, "org/model")
    assert run("inspect").code == 0
    assert not hub.requests
