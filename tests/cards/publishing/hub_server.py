"""A local server that speaks the part of the Hub's API that publishing and loading use, with faults on demand.

Written from huggingface_hub's client, which is what talks to it in the tests, unmodified. Without Xet: clients set HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_STAMP = "2025-03-04T05:06:07.000Z"
_LFS = re.compile(r"\.(parquet|safetensors|png|jpg|bin)$")


@dataclass(frozen=True)
class File:
    """Content of a path; ``lfs`` names its object where it is a large file."""

    data: bytes
    lfs: str | None = None
    size: int = 0

    @property
    def oid(self) -> str:
        """Git's name of the blob; of a large file, that of its pointer."""
        text = f"oid sha256:{self.lfs}\nsize {self.size}\n".encode() if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()


@dataclass
class Commit:
    """A whole tree and the commit before."""

    id: str
    tree: dict[str, File]
    parent: str | None
    title: str


@dataclass
class Repo:
    """One repository."""

    private: bool = False
    gated: Any = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, File], title: str, parent: str | None) -> str:
        """Add a commit and move the branch."""
        text = json.dumps([parent, title, len(self.commits), sorted((p, f.oid) for p, f in tree.items())])
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = Commit(name, tree, parent, title)
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, tag or id."""
        name = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(name)

    def files(self, revision: str) -> dict[str, File]:
        """By path."""
        found = self.find(revision)
        assert found is not None, revision
        return found.tree

    def log(self, revision: str) -> list[Commit]:
        """Newest first."""
        found, commit = [], self.find(revision)
        while commit is not None:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found

    def prune(self) -> None:
        """Forget commits that no branch or tag leads to, as the Hub does after a squash."""
        kept = {c.id for name in (*self.branches, *self.tags) for c in self.log(name)}
        self.commits = {name: commit for name, commit in self.commits.items() if name in kept}


@dataclass
class Fault:
    """The next ``times`` requests whose "METHOD path" matches, after ``skip`` that do, are answered so.

    ``cut``: so many bytes of an answer, then the connection is closed; ``status`` 0: the request is done, but no answer comes.
    """

    match: str
    status: int = 500
    times: int = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Quiet(ThreadingHTTPServer):
    """Its clients are killed: that is nothing to report."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the others."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class HubServer:
    """``with HubServer() as hub``: at ``hub.url``."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens = {"hf_writertoken0": ("someone", "write"), "hf_readertoken0": ("someone", "read")}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.before: list[
            tuple[str, Any]
        ] = []  # (match, function) called once before a request that matches; not carried out where True
        self.lock = threading.RLock()
        self.server = Quiet(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def reset(self) -> None:
        """Forget everything."""
        with self.lock:
            self.repos, self.objects, self.faults, self.requests, self.before = {}, {}, [], [], []
            self.tokens = {"hf_writertoken0": ("someone", "write"), "hf_readertoken0": ("someone", "read")}

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def body(self) -> bytes:
        """Of the request, chunked or not."""
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, data: Any = None, headers: dict[str, str] | None = None) -> None:
        """Send an answer, or the part of it that a fault leaves."""
        content = data if isinstance(data, bytes) else json.dumps({} if data is None else data).encode()
        if self.fault is not None and self.fault.status == 0:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(data, bytes) else "application/json"
        given = {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            if self.fault is not None and self.fault.cut is not None:
                self.wfile.write(content[: self.fault.cut])
                self.close_connection = True
                return
            self.wfile.write(content)

    def error(self, status: int, message: str, code: str | None = None) -> None:
        """As the Hub tells errors."""
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer(status, {"error": message}, headers)

    def handle_any(self) -> None:
        """Every method."""
        parts = urlsplit(self.path)
        self.path_only, self.query = parts.path, parse_qs(parts.query)
        line = f"{self.command} {unquote(parts.path)}"
        data = self.body()
        hub = self.hub
        with hub.lock:
            hub.requests.append(line)
            for entry in [entry for entry in hub.before if re.search(entry[0], line)]:
                hub.before.remove(entry)
                if entry[1]():
                    self.close_connection = True
                    return
            self.fault = self._fault(line)
            if self.fault is not None and self.fault.status and self.fault.cut is None:
                self.close_connection = True
                self.answer(self.fault.status, {"error": "as the test wants it"}, self.fault.headers)
                return
            token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            self.user = hub.tokens.get(token)
            self.route(data)

    def _fault(self, line: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times and re.search(fault.match, line):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def route(self, data: bytes) -> None:
        """By path."""
        path = self.path_only
        if path == "/api/whoami-v2":
            if self.user is None:
                return self.error(401, "Invalid username or password.")
            access = {"displayName": "test", "role": self.user[1]}
            me = {"type": "user", "name": self.user[0], "orgs": [{"name": "organisation", "roleInOrg": "write"}]}
            return self.answer(200, me | {"auth": {"type": "access_token", "accessToken": access}})
        if path.startswith("/cdn/"):
            return self.send_file(self.hub.objects[path[5:]], {"ETag": f'"{path[5:]}"'})
        if path.startswith("/lfs/"):
            if hashlib.sha256(data).hexdigest() != path[5:]:
                return self.error(400, "other content")
            self.hub.objects[path[5:]] = data
            return self.answer(200)
        if path == "/lfs-verify":
            return self.answer(200 if json.loads(data)["oid"] in self.hub.objects else 404)
        if path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        writes = self.command in ("POST", "PUT", "DELETE") and "paths-info" not in path
        if writes and (self.user is None or self.user[1] != "write"):
            return self.error(401 if self.user is None else 403, "you have no right to write here")
        if path == "/api/repos/create":
            return self.create(json.loads(data))
        for pattern, function in (
            (r"/api/(datasets|models)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/(.*))?)?$", self.api),
            (r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/(batch)()$", self.batch),
            (r"/(datasets/)?([^/]+/[^/]+)/(resolve)/(.*)$", self.resolve),
        ):
            if match := re.match(pattern, path):
                kind = "models" if match[1] in (None, "models") else "datasets"
                repo = self.hub.repos.get(f"{kind}/{match[2]}")
                if repo is None or (repo.private and self.user is None):
                    return self.error(401 if self.user is None else 404, "Repository Not Found", "RepoNotFound")
                return function(repo, f"{kind}/{match[2]}", match[3], unquote(match[4] or ""), data)
        return self.error(404, f"no such path {path}")

    def create(self, asked: dict[str, Any]) -> None:
        """A new repository with the Hub's first commit."""
        owner = asked.get("organization") or (self.user or ("",))[0]
        kind, name = asked.get("type", "model"), f"{owner}/{asked['name']}"
        key = f"{kind}s/{name}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if key in self.hub.repos:
            return self.answer(409, {"url": url, "error": "You already created this repo"})
        repo = self.hub.repos[key] = Repo(private=asked.get("visibility") == "private")
        repo.commit("main", {".gitattributes": File(b"*.parquet filter=lfs\n")}, "initial commit", None)
        return self.answer(200, {"url": url, "name": name})

    def api(self, repo: Repo, key: str, verb: str | None, rest: str, data: bytes) -> None:
        """Below /api/datasets/OWNER/NAME."""
        asked = json.loads(data) if data and self.headers.get("content-type", "") == "application/json" else {}
        if verb in (None, "revision"):
            return self.info(repo, key, rest or "main")
        if verb == "settings":
            repo.gated = asked.get("gated", repo.gated)
            if "visibility" in asked:
                repo.private = asked["visibility"] == "private"
            return self.answer(200)
        if verb == "refs":
            listed = [("branches", "heads", repo.branches), ("tags", "tags", repo.tags)]
            made = {
                name: [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": c} for n, c in refs.items()]
                for name, kind, refs in listed
            }
            return self.answer(200, made | {"converts": [], "pullRequests": []})
        if verb == "branch":
            return self.branch(repo, rest, asked)
        if verb == "tag":
            return self.tag(repo, rest, asked)
        if verb == "lfs-files":
            if rest == "batch":
                for oid in asked["deletions"]["sha"]:
                    repo.lfs.pop(oid, None)
                    self.hub.objects.pop(oid, None)
                return self.answer(200)
            rows = [
                {"fileOid": o, "filename": n, "oid": o, "pushedAt": _STAMP, "size": len(self.hub.objects[o])}
                for o, n in repo.lfs.items()
            ]
            return self.answer(200, rows)
        revision, _, path = rest.partition("/") if verb in ("tree", "paths-info") else (rest, "", "")
        if (commit := repo.find(revision)) is None and verb == "tree":
            commit, path = repo.find(rest), ""
        if commit is None:
            return self.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if verb == "commits":
            authors = [{"user": "someone"}]
            rows = [
                {"id": c.id, "title": c.title, "message": "", "authors": authors, "date": _STAMP}
                for c in repo.log(rest)
            ]
            return self.answer(200, rows)
        if verb == "tree":
            return self.tree(commit, path)
        if verb == "paths-info":
            given = asked.get("paths") or parse_qs(data.decode()).get("paths", [])
            rows = [entry for p in given for entry in _entries(commit, p, exact=True)]
            return self.answer(200, rows)
        if verb == "preupload":
            found = [self.mode(commit, file) for file in asked["files"]]
            return self.answer(200, {"files": found})
        if verb == "super-squash":
            repo.commit(rest, commit.tree, asked.get("message", "squash"), None)
            repo.prune()
            return self.answer(200)
        if verb == "commit":
            return self.commit(repo, key, rest, commit, data)
        return self.error(404, f"no such verb {verb}")

    def info(self, repo: Repo, key: str, revision: str) -> None:
        """Of a revision."""
        commit = repo.find(revision)
        if commit is None:
            return self.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        name = key.split("/", 1)[1]
        siblings = [{"rfilename": path} for path in commit.tree]
        return self.answer(
            200,
            {"_id": "1", "id": name, "sha": commit.id, "private": repo.private, "gated": repo.gated, "disabled": False}
            | {
                "siblings": siblings,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "lastModified": _STAMP,
                "createdAt": _STAMP,
            },
        )

    def branch(self, repo: Repo, name: str, asked: dict[str, Any]) -> None:
        """Made or removed."""
        if self.command == "DELETE":
            if repo.branches.pop(name, None) is None:
                return self.error(404, "no such branch", "RevisionNotFound")
            repo.prune()
            return self.answer(200)
        if name in repo.branches:
            return self.error(409, "Reference already exists")
        start = repo.find(asked.get("startingPoint", "main"))
        if start is None:
            return self.error(404, "no such revision", "RevisionNotFound")
        repo.branches[name] = start.id
        return self.answer(201)

    def tag(self, repo: Repo, name: str, asked: dict[str, Any]) -> None:
        """Made at a revision, or removed."""
        if self.command == "DELETE":
            return self.answer(200 if repo.tags.pop(name, None) else 404)
        commit = repo.find(name)
        if commit is None:
            return self.error(404, "no such revision", "RevisionNotFound")
        if asked["tag"] in repo.tags:
            return self.error(409, "Tag reference exists already")
        repo.tags[asked["tag"]] = commit.id
        return self.answer(201)

    def mode(self, commit: Commit, file: dict[str, Any]) -> dict[str, Any]:
        """Whether a file goes into large storage, and what is there."""
        there = commit.tree.get(file["path"])
        mode = "lfs" if _LFS.search(file["path"]) or file["size"] > 10 * 2**20 else "regular"
        oid = (there.lfs or there.oid) if there else None
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def tree(self, commit: Commit, folder: str) -> None:
        """Listed; folders too where it is not recursive."""
        deep = self.query.get("recursive", ["False"])[0].lower() in ("true", "1")
        rows = _entries(commit, folder, deep=deep)
        if not rows and folder:
            return self.error(404, "no such folder", "EntryNotFound")
        return self.answer(200, rows)

    def batch(self, repo: Repo, key: str, _verb: str, _rest: str, data: bytes) -> None:
        """Where large files go; nothing for those that are there."""
        objects = []
        for asked in json.loads(data)["objects"]:
            entry = dict(asked)
            if asked["oid"] not in self.hub.objects:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/lfs-verify", "header": {}},
                }
            objects.append(entry)
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, repo: Repo, key: str, branch: str, head: Commit, data: bytes) -> None:
        """A commit of lines of JSON on a branch."""
        tree, title, parent = dict(head.tree), "", None
        for line in data.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title, parent = value["summary"], value.get("parentCommit")
            elif entry["key"] == "file":
                tree[value["path"]] = File(content := base64.b64decode(value["content"]), None, len(content))
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self.error(400, "the large file is not there")
                size = value.get("size", len(self.hub.objects[value["oid"]]))  # none of one that is copied
                tree[value["path"]] = File(b"", value["oid"], size)
                repo.lfs[value["oid"]] = value["path"]
            elif tree.pop(value["path"], None) is None:
                return self.error(404, "A file with this name doesn't exist", "EntryNotFound")
        if parent is not None and parent != repo.branches.get(branch):
            return self.error(412, "A commit has happened since. Please refresh and try again.")
        made = repo.commit(branch, tree, title, head.id)
        url = f"{self.hub.url}/{key.removeprefix('models/')}/commit/{made}"
        return self.answer(200, {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    def resolve(self, repo: Repo, key: str, _verb: str, rest: str, data: bytes) -> None:
        """A file of a revision; a large one from elsewhere."""
        revision, _, path = rest.partition("/")
        commit = repo.find(revision)
        if commit is None:
            return self.error(404, "no such revision", "RevisionNotFound")
        headers = {"X-Repo-Commit": commit.id}
        file = commit.tree.get(path)
        if file is None:
            return self.answer(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
        if file.lfs is None:
            return self.send_file(file.data, headers | {"ETag": f'"{file.oid}"'})
        linked = {"X-Linked-ETag": f'"{file.lfs}"', "X-Linked-Size": str(file.size)}
        return self.answer(
            302,
            b"",
            headers | linked | {"Location": f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{file.lfs}"},
        )

    def send_file(self, data: bytes, headers: dict[str, str]) -> None:
        """Whole, or a range of it."""
        headers = headers | {"Accept-Ranges": "bytes"}
        match = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("range") or "")
        if match is None:
            return self.answer(200, data, headers)
        first = int(match[1]) if match[1] else max(0, len(data) - int(match[2]))
        last = min(int(match[2]) if match[1] and match[2] else len(data) - 1, len(data) - 1)
        part = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return self.answer(206, data[first : last + 1], headers | part)


def _entries(commit: Commit, folder: str, *, deep: bool = True, exact: bool = False) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    prefix = f"{folder}/" if folder and folder != "." else ""
    for path, file in sorted(commit.tree.items()):
        if exact and path == folder:
            return [_file(path, file)]
        if not path.startswith(prefix):
            continue
        if exact:
            return [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}]
        pieces = path[len(prefix) :].split("/")
        for depth in range(1, len(pieces)):
            if deep or depth == 1:
                name = prefix + "/".join(pieces[:depth])
                found[name] = {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        if deep or len(pieces) == 1:
            found[path] = _file(path, file)
    return list(found.values())


def _file(path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": file.oid, "size": file.size or len(file.data)}
    if file.lfs:
        entry["lfs"] = {"oid": file.lfs, "size": file.size, "pointerSize": 130}
    return entry
