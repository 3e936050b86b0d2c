"""Code from git: just the files of one folder at one commit, as they are stored."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from handmade import git, serving

from hubpkg import repository
from hubpkg.errors import FetchError, HubpkgError
from hubpkg.transport import Policy

FILES = {
    "mindspore_hub_conf.py": b"def create_network(name):\r\n    pass\r\n",
    "parts/layer.py": b"",
    "parts/deep/table.bin": bytes(range(256)) * 40,
    "README": b"without a newline at its end\nmissing 0\n\n",
    "two words \xc3\xa9.txt".encode("latin-1").decode(): b"x\n",
}


@pytest.fixture
def origin(tmp_path):
    """A repository with two commits; the first one's tags are v1 and, annotated, v1-annotated."""
    folder = tmp_path / "origin"
    for name, data in FILES.items():
        (folder / "models" / "net" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "models" / "net" / name).write_bytes(data)
    (folder / "models" / "net2").mkdir()
    (folder / "models" / "net2" / "other.py").write_bytes(b"other\n")
    (folder / "large.bin").write_bytes(b"elsewhere\n" * 1000)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=one")
    git(folder, "tag", "v1")
    git(folder, "tag", "--annotate", "--message=one", "v1-annotated")
    (folder / "models" / "net" / "more.py").write_bytes(b"more\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=two")
    return folder


@contextmanager
def smart_server(folder):
    """The URL of ``folder`` served by git's own HTTP backend, and the list of the requests that are made."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            path, _, query = self.path.partition("?")
            size = int(self.headers.get("Content-Length") or 0)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(size),
            }
            given = self.rfile.read(size) if size or "chunked" not in self.headers.get("Transfer-Encoding", "") else b""
            command = ["git", "http-backend"]
            done = subprocess.run(command, env=environment, input=given, capture_output=True, check=True)
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_):
            pass

    with serving(Handler) as url:
        yield url, asked


@pytest.mark.parametrize("ref", ["v1", "v1-annotated"])
@pytest.mark.parametrize("link", ["{}/tree/{}/models/net", "file://{}/tree/{}/models/net", "<{}/blob/{}/models/net/>"])
def test_the_files_are_as_they_are_stored(origin, link, ref):
    code = repository.read(link.format(origin, ref), Policy())
    assert code.files == FILES
    assert code.commit == git(origin, "rev-parse", "v1")


def test_a_branch_gives_its_newest_commit_and_a_commit_given_that_one(origin):
    link = f"{origin}/tree/main/models/net"
    code = repository.read(link, Policy())
    assert code.files == {**FILES, "more.py": b"more\n"}
    assert code.commit == git(origin, "rev-parse", "main")
    first = git(origin, "rev-parse", "v1")
    assert repository.read(link, Policy(), first) == repository.Code(first, FILES)


def test_a_bare_repository_will_do(origin, tmp_path):
    git(tmp_path, "clone", "--quiet", "--bare", str(origin), "bare.git")
    assert repository.read(f"{tmp_path}/bare.git/tree/v1/models/net", Policy()).files == FILES


def test_a_folder_in_the_repositorys_root(origin):
    assert set(repository.read(f"{origin}/tree/main/models", Policy()).files) == {
        *(f"net/{name}" for name in FILES),
        "net/more.py",
        "net2/other.py",
    }


def test_a_file_is_no_folder(origin):
    with pytest.raises(HubpkgError, match=r"expected a folder of at most 1000 files at .*, found none$"):
        repository.read(f"{origin}/tree/main/large.bin", Policy())


def test_over_http_neither_history_nor_other_files_come(origin, monkeypatch):
    git(origin, "config", "uploadpack.allowFilter", "true")
    seen = []
    files = repository._Git.files  # noqa: SLF001 - what has come is only seen before it is removed

    def look(self, *arguments):
        found = files(self, *arguments)
        listed = self._run("rev-list", "--objects", "--missing=print", "FETCH_HEAD").decode()
        missing = {line[1:] for line in listed.splitlines() if line.startswith("?")}
        commits = self._run("rev-list", "--count", "FETCH_HEAD").decode().strip()
        seen.append((missing, commits))
        return found

    monkeypatch.setattr(repository._Git, "files", look)  # noqa: SLF001
    with smart_server(origin.parent) as (url, asked):
        code = repository.read(f"{url}/origin/tree/main/models/net", Policy())
    assert code.files == {**FILES, "more.py": b"more\n"}
    ((missing, commits),) = seen
    assert commits == "1"
    assert missing == {git(origin, "rev-parse", f"main:{path}") for path in ("large.bin", "models/net2/other.py")}
    assert asked


def test_over_http_a_server_that_filters_nothing_will_do(origin):
    with smart_server(origin.parent) as (url, _):
        link = f"{url}/origin/tree/main/models/net"
        assert repository.read(link, Policy()).files == {**FILES, "more.py": b"more\n"}
        first = git(origin, "rev-parse", "v1")
        assert repository.read(link, Policy(), first) == repository.Code(first, FILES)
        with pytest.raises(FetchError, match=r"^http://.*/origin: expected the branch or tag none, found: fatal: "):
            repository.read(link.replace("main", "none"), Policy())
        with pytest.raises(FetchError, match=r"^http://.*/none: expected the branch or tag main, found: fatal: "):
            repository.read(link.replace("origin", "none"), Policy())


def test_nothing_is_left_behind(origin, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(repository.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = sorted(origin.rglob("*"))
    repository.read(f"{origin}/tree/main/models/net", Policy())
    with pytest.raises(FetchError):
        repository.read(f"{origin}/tree/none/models/net", Policy())
    assert not [*(tmp_path / "tmp").iterdir(), *(tmp_path / "cwd").iterdir()]
    assert sorted(origin.rglob("*")) == before


def test_the_callers_git_variables_steer_nothing(origin, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    for key, value in {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.file.allow",
        "GIT_CONFIG_VALUE_0": "never",
    }.items():
        monkeypatch.setenv(key, value)
    before = sorted(other.rglob("*"))
    assert repository.read(f"{origin}/tree/v1/models/net", Policy()).files == FILES
    assert sorted(other.rglob("*")) == before


def test_offline_git_is_not_started_but_for_a_local_repository(origin, monkeypatch):
    assert repository.read(f"{origin}/tree/main/models/net", Policy(offline=True)).files
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(FetchError, match=r"expected its code in the cache, found none, and hubpkg is offline$"):
        repository.read("https://host.example/o/r/tree/main/models/net", Policy(offline=True))


def test_http_to_another_machine_is_refused_before_git_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    for scheme in ("http", "git", "ssh", "ext", "ftp"):
        with pytest.raises(FetchError, match=f"expected an https URL, found {scheme}"):
            repository.read(f"{scheme}://host.example/o/r/tree/main/net", Policy())


def test_settings_that_lead_elsewhere_do_so_by_no_other_protocol(tmp_path, monkeypatch):
    settings = '[url "git://127.0.0.1:1/"]\ninsteadOf = https://host.example/\n'
    (tmp_path / ".gitconfig").write_text(settings, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with pytest.raises(FetchError, match=r"found: fatal: transport 'git' not allowed$"):
        repository.read("https://host.example/o/r/tree/main/net", Policy())


def test_without_git_the_error_says_so(origin, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HubpkgError, match=r"^expected git, to bring the entrypoint's code, found none; install it$"):
        repository.read(f"{origin}/tree/main/models/net", Policy())


@pytest.mark.parametrize(
    "link",
    ["", "net", "https://host.example/o/r", "/repository/tree/main", "/repository/tree/main/", "/r/trees/main/net"],
)
def test_what_is_no_link_is_refused(link):
    with pytest.raises(HubpkgError, match=r"^repo-link: expected <repository>/tree/<branch>/<folder>, found "):
        repository.read(link, Policy())


@pytest.mark.parametrize(
    "ref", ["..", "main:x", "+main", "a b", "^main", "main~1", "@{-1}", ":", "-main", "ma*", "*", "HEAD^{tree}"]
)
def test_what_is_no_branch_is_refused(origin, ref):
    with pytest.raises(HubpkgError, match=r"expected (the branch or tag|a repository and a branch or a tag of it)"):
        repository.read(f"{origin}/tree/{ref}/models/net", Policy())


def test_a_way_through_a_linked_folder_is_refused(origin):
    (origin / "link").symlink_to("models")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message=link")
    with pytest.raises(HubpkgError, match=r"found none$"):
        repository.read(f"{origin}/tree/main/link/net", Policy())


def test_a_server_that_goes_while_files_are_read_is_an_error(origin, monkeypatch):
    git(origin, "config", "uploadpack.allowFilter", "true")
    fetch = repository._Git.fetch  # noqa: SLF001 - the moment between two requests

    def then_gone(self, ref):
        found = fetch(self, ref)
        origin.rename(origin.with_name("gone"))
        return found

    monkeypatch.setattr(repository._Git, "fetch", then_gone)  # noqa: SLF001
    with pytest.raises(FetchError, match=r"/models/net: expected its files, found: fatal: "):
        repository.read(f"{origin}/tree/main/models/net", Policy())


@pytest.mark.parametrize(
    "name", ["a", "a.py", ".hidden", "a/b/c.py", "..a", "a..", "conf", "é.py", "x" * 255, "a b", "console.py", "com"]
)
def test_names_that_stay_where_they_are_put(name, tmp_path):
    repository.check_name(name, "here")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "a/./b",
            ".git",
            ".git/config",
            "a/.git/b",
            "a\\b",
            "C:a",
            "a:b",
        ),
        *(
            "a\0",
            "a\n",
            "a\x7f",
            "con",
            "CON",
            "con.py",
            "a/NUL.txt",
            "com1",
            "lpt9.x",
            "x" * 256,
            "é" * 128,
            "\ud800:",
        ),
    ],
)
def test_names_that_do_not(name):
    with pytest.raises(HubpkgError, match=r"^here: expected a file's path inside its folder, found ") as caught:
        repository.check_name(name, "here")
    assert str(caught.value).isprintable()


def test_an_error_shows_no_long_name():
    with pytest.raises(HubpkgError, match=r"found 'x{40}\.\.\. of 9000 characters'$"):
        repository.check_name("x" * 9000, "here")


def test_two_at_once_do_not_meet(origin):
    program = (
        "import sys\nfrom hubpkg import repository\nfrom hubpkg.transport import Policy\n"
        "print(len(repository.read(sys.argv[1], Policy()).files))"
    )
    command = [sys.executable, "-c", program, f"{origin}/tree/v1/models/net"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in running] == [f"{len(FILES)}\n"] * 3


def test_git_is_found(tmp_path):
    """Else every test here would be one of its absence."""
    assert shutil.which("git")
    assert git(tmp_path, "--version").startswith("git version")


def test_a_long_link_is_refused_at_once():
    with pytest.raises(HubpkgError, match=r"found '/x/tree/a.*\.\.\. of 280005 characters'$"):
        repository.read("/x" + "/tree/a" * 40_000 + "\n/q", Policy())


def test_git_that_gains_nothing_is_given_up(tmp_path, monkeypatch):
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\ncase "$*" in *fetch*) exec sleep 600;; esac\nexit 0\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(FetchError, match="expected git to bring it, found it silent; given up"):
        repository.read("https://host.example/o/r/tree/main/net", Policy(stall_seconds=0.5))


def test_git_is_asked_again_where_that_can_help(origin, tmp_path, monkeypatch):
    """The first two fetches end as those from a server do that has too much to do."""
    real = shutil.which("git")
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch "*) echo x >> {tmp_path}/tries\n'
        f"test $(wc -l < {tmp_path}/tries) -lt 3 && echo 'fatal: The requested URL returned error: 503' >&2 "
        "&& exit 128;;\n"
        f'esac\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert repository.read(f"{origin}/tree/main/models/net", Policy(backoff_seconds=0.01)).files
    assert (tmp_path / "tries").read_text() == "x\n" * 3
