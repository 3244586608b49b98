"""A small Hugging Face hub on the loopback address that answers as the real one does, and a broken one on demand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Wi-Fi</body></html>\n"
MAIN = "0123456789abcdef0123456789abcdef01234567"
TAGGED = "89abcdef0123456789abcdef0123456789abcdef"
LARGE = (".safetensors", ".bin", ".h5", ".msgpack", ".gguf")  # kept in Git LFS, so their ETag is a SHA-256


class Handler(BaseHTTPRequestHandler):
    """One request: the hub's `broken` may answer it first, else it is answered as the real hub does."""

    protocol_version = "HTTP/1.1"
    server: LoopbackHub

    def log_message(self, *_: object) -> None:
        """Nothing: stderr is what the tests look at."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if self.server.broken is not None and self.server.broken(self, path):
            return
        if path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        else:
            repository, _, rest = path[1:].partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._file(repository, revision, name)

    def _api(self, rest: str) -> None:
        for kind in ("/revision/", "/tree/"):
            if kind in rest:
                repository, _, revision = rest.partition(kind)
                break
        else:
            repository, kind, revision = rest, "/revision/", "main"
        files = self._files(repository, revision)
        if files is None:
            return
        if kind == "/tree/":
            self.send_json([_entry(name, content) for name, content in files.items()])
        else:
            siblings = [{"rfilename": name} for name in files]
            commit = self.server.commit(revision)
            self.send_json({"id": repository, "modelId": repository, "sha": commit, "siblings": siblings})

    def _file(self, repository: str, revision: str, name: str) -> None:
        files = self._files(repository, revision)
        if files is None:
            return
        if name not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        content = files[name]
        headers = {"ETag": f'"{etag(name, content)}"'}
        headers |= {"X-Repo-Commit": self.server.commit(revision) or "", "X-Linked-Size": str(len(content))}
        if self.server.storage is not None and name.endswith(LARGE):
            headers |= {"X-Linked-Etag": headers["ETag"], "Location": f"{self.server.storage}/{name}"}
            self.send(302, b"Found", headers)
        else:
            self.send(200, content, headers)

    def _files(self, repository: str, revision: str) -> dict[str, bytes] | None:
        if repository not in self.server.repositories:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")  # as the hub says to strangers
            return None
        if self.server.commit(revision) is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return self.server.repositories[repository]

    def refuse(self, status: int, code: str | None = None, message: str = "", **headers: str) -> None:
        """Answer as the hub refuses: codes and messages in headers."""
        told = {"X-Error-Code": code} if code else {}
        told |= {"X-Error-Message": message} if message else {}
        self.send(status, b'{"error": "no"}', told | {key.replace("_", "-"): value for key, value in headers.items()})

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str], *, size: int | None = None) -> None:
        """An answer; `size` is what it says of its length, if that is to be a lie."""
        self.send_response(status)
        for name, value in ({"Content-Type": "application/octet-stream"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        if size is not None:
            self.close_connection = True


class LoopbackHub(ThreadingHTTPServer):
    """Repositories by name, each a table of files; `broken` takes a request over by returning True."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.revisions = {"main": MAIN, "v1": TAGGED, "refs/pr/1": TAGGED}
        self.storage: str | None = None  # where large files are redirected to, as to the hub's own storage
        self.requests: list[str] = []
        self.broken: Callable[[Handler, str], bool] | None = None
        self.closing = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.revisions.values() else self.revisions.get(revision)

    def add(self, repository: str, folder: Path) -> None:
        """Publish the files of a folder."""
        self.repositories[repository] = {
            file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }

    def handle_error(self, *_: object) -> None:
        """Nothing: clients that leave early are what some tests are about."""


@contextmanager
def serving() -> Iterator[LoopbackHub]:
    """A hub that answers for as long as the context lasts."""
    with LoopbackHub() as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            hub.shutdown()
            thread.join()


def etag(name: str, content: bytes) -> str:
    """SHA-256 of large files, Git's own hash of the others."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": etag(name, content)[:40]}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": etag(name, content), "size": len(content), "pointerSize": 134}
    return entry
