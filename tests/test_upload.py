"""Assets in a folder, in an S3-compatible store and on a server that takes PUT; the package changes only after that."""

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import loopback
import pytest
import stopping
import tiny
from handmade import served, serving

from hubpkg import manifest, publication, upload, verification
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, InvalidDocumentError
from hubpkg.transport import Policy

assert loopback.ROOT  # it has proxies left out of what follows
QUICK = Policy(tries=3, stall_seconds=120, read_seconds=60, backoff_seconds=0.01)  # to try again, not to give up
DATA = b"an asset\n" * 100_000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Shelf(BaseHTTPRequestHandler):
    """A server that takes PUT into a dictionary; what goes wrong first is in ``faults``, by the method."""

    protocol_version = "HTTP/1.1"

    def __init__(self, files, faults, seen, *arguments):
        self.files, self.faults, self.seen = files, faults, seen
        super().__init__(*arguments)

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.seen.append((self.command, self.path, self.headers))
        fault = self.faults["GET"].pop(0) if self.faults.get("GET") else None
        body = self.files.get(self.path)
        if fault == "missed":
            self.answer(404)
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.answer(404 if body is None else 200, body or b"")

    def do_PUT(self):
        self.seen.append((self.command, self.path, self.headers))
        fault = self.faults["PUT"].pop(0) if self.faults.get("PUT") else None
        size = int(self.headers["Content-Length"])
        if fault == "break":
            self.rfile.read(size // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if fault == "hang":
            self.rfile.read(1000)
            self.files["hung"].wait(10)
            self.close_connection = True
            return
        body = b"".join(self.read_slowly(size)) if fault == "slow" else self.rfile.read(size)
        if fault == "redirect":
            self.send_response(307)
            self.send_header("Location", f"/elsewhere{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif isinstance(fault, int):
            self.answer(fault)
        elif self.headers["If-None-Match"] == "*" and self.path in self.files:
            self.answer(412)
        else:
            self.files[self.path] = body[:-1] if fault == "shorten" else body
            if fault == "lose the answer":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.answer(201)

    def read_slowly(self, size):
        while size:
            time.sleep(0.15)
            yield (block := self.rfile.read(min(size, 1 << 20)))
            size -= len(block)

    def log_message(self, *_):
        pass


@contextmanager
def shelf(**faults):
    files, seen = {"hung": threading.Event()}, []
    with serving(partial(Shelf, files, faults, seen)) as url:
        try:
            yield url, files, seen
        finally:
            files["hung"].set()


@pytest.fixture
def asset(tmp_path):
    path = tmp_path / "net-12345678.ckpt"
    path.write_bytes(DATA)
    return path


def send(asset, where):
    return upload.send(asset, SHA256, upload.destination(str(where), QUICK))


def test_a_folder_gets_the_file_once(asset, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert send(asset, folder)
    assert (folder / asset.name).read_bytes() == DATA
    assert not send(asset, folder)
    assert [path.name for path in folder.iterdir()] == [asset.name]


def test_another_file_that_is_there_stays(asset, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / asset.name).write_bytes(b"other")
    with pytest.raises(IntegrityError, match=r"expected nothing, or the file with sha256 .*, which is left as it is"):
        send(asset, tmp_path / "to")
    assert (tmp_path / "to" / asset.name).read_bytes() == b"other"
    with shelf() as (url, files, _):
        files[f"/a/{asset.name}"] = b"other"
        with pytest.raises(IntegrityError, match="which is left as it is"):
            send(asset, f"{url}/a")
        assert files[f"/a/{asset.name}"] == b"other"


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"PUT": ["break"]},
        {"PUT": [503, 429]},
        {"PUT": ["lose the answer"]},
        {"GET": [None, "cut"]},
    ],
    ids=str,
)
def test_a_server_gets_the_file_whatever_passes(asset, faults):
    with shelf(**faults) as (url, files, _):
        assert send(asset, f"{url}/a/")
        assert files[f"/a/{asset.name}"] == DATA


def test_a_file_that_was_put_there_meanwhile_stays(asset):
    with shelf(GET=["missed"]) as (url, files, _):
        files[f"/a/{asset.name}"] = b"other"
        with pytest.raises(IntegrityError, match="to be read back"):
            send(asset, f"{url}/a")
        assert files[f"/a/{asset.name}"] == b"other"


def test_a_server_may_take_longer_than_it_may_stall(tmp_path):
    path = tmp_path / "large.ckpt"
    path.write_bytes(bytes(24 << 20))
    with shelf(PUT=["slow"]) as (url, _, seen):
        place = upload.destination(url, Policy(tries=1, stall_seconds=3))
        assert upload.send(path, manifest.record(path).sha256, place)
        assert [method for method, _, _ in seen] == ["GET", "PUT", "GET"]


def test_what_is_read_back_comes_from_no_cache_and_what_is_sent_follows_redirects_whole(asset):
    with shelf(PUT=["redirect"]) as (url, files, seen):
        with pytest.raises(IntegrityError, match="to be read back, found nothing"):
            send(asset, f"{url}/a")
        assert files[f"/elsewhere/a/{asset.name}"] == DATA
        assert {headers["Cache-Control"] for method, _, headers in seen if method == "GET"} == {"no-cache"}


@pytest.mark.parametrize(
    ("faults", "kind", "pattern"),
    [
        ({"PUT": [403]}, FetchError, "expected it to be taken, found status 403"),
        ({"PUT": [503] * 3}, FetchError, "status 503.*given up after 3 tries"),
        ({"PUT": ["hang"] * 3}, FetchError, "given up after"),
        ({"PUT": ["shorten"]}, IntegrityError, "expected sha256 .* to be read back, found "),
    ],
    ids=str,
)
def test_a_server_that_does_not_take_it_is_told(asset, faults, kind, pattern):
    policy = replace(QUICK, stall_seconds=1 if "hang" in faults["PUT"] else QUICK.stall_seconds)
    with shelf(**faults) as (url, _, _), pytest.raises(kind, match=pattern):
        upload.send(asset, SHA256, upload.destination(f"{url}/a", policy))


@pytest.mark.parametrize("place", ["netrc", "URL"])
def test_secrets_are_sent_and_never_shown(asset, place, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with shelf(PUT=[None, 403]) as (url, _, seen):
        if place == "netrc":
            (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hidden\n")
        where = url if place == "netrc" else url.replace("//", "//me:hidden@")
        send(asset, f"{where}/first")
        with pytest.raises(FetchError) as caught:
            send(asset, f"{where}/second")
        to = upload.destination(where, QUICK)
        assert not [text for text in (str(caught.value), to.name("x"), to.base) if "hidden" in text]
        assert {headers["Authorization"] for _, _, headers in seen} == {
            f"Basic {base64.b64encode(b'me:hidden').decode()}"
        }


@pytest.mark.parametrize(
    ("where", "pattern"),
    [
        ("https://example.com/a?signature=hidden", r"a\?\.\.\., which has a query"),
        ("http://example.com/a", "expected an https URL"),
        ("s3://", "expected s3://BUCKET/PREFIX"),
    ],
)
def test_a_place_that_is_none_is_refused_at_once(asset, where, pattern):
    with pytest.raises(HubpkgError, match=pattern):
        send(asset, where)


def test_a_file_is_no_folder_to_put_assets_in(asset):
    with pytest.raises(HubpkgError, match="expected a folder or a URL, found the file"):
        send(asset, asset)


@pytest.fixture(scope="module")
def store():
    """The endpoint of an S3-compatible server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store, monkeypatch, tmp_path):
    """A boto3 client, set up by the environment alone; the bucket ``assets`` is there and empty."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = {
        "ENDPOINT_URL": store,
        "ACCESS_KEY_ID": "me",
        "SECRET_ACCESS_KEY": "hidden",
        "DEFAULT_REGION": "us-east-1",
        "CONFIG_FILE": str(tmp_path / "none"),
        "SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "MAX_ATTEMPTS": "1",
        "EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="assets")
    yield client
    for item in client.list_objects_v2(Bucket="assets").get("Contents", []):
        client.delete_object(Bucket="assets", Key=item["Key"])


def test_a_store_gets_the_file_once(asset, bucket):
    assert send(asset, "s3://assets/a/b/")
    assert bucket.get_object(Bucket="assets", Key=f"a/b/{asset.name}")["Body"].read() == DATA
    assert not send(asset, "s3://assets/a/b")
    assert send(asset, "s3://assets")
    bucket.put_object(Bucket="assets", Key=asset.name, Body=b"other")
    with pytest.raises(IntegrityError, match=f"s3://assets/{asset.name}: .*which is left as it is"):
        send(asset, "s3://assets")


@pytest.fixture(params=[1, 9 << 20], ids=["whole", "in parts"])
def place_of(request, bucket, tmp_path):
    """Makes a place of a kind where another's file is by now; and the file that was to be put there."""
    path = tmp_path / "file.ckpt"
    path.write_bytes(bytes(request.param))

    def make(kind):
        if kind == "folder":
            (tmp_path / "to").mkdir()
            (tmp_path / "to" / path.name).write_bytes(b"other")
            return upload.destination(str(tmp_path / "to"), QUICK)
        bucket.put_object(Bucket="assets", Key=path.name, Body=b"other")
        return upload.destination("s3://assets", QUICK)

    return make, path


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_what_another_publisher_has_put_there_meanwhile_stays(place_of, kind, monkeypatch):
    make, path = place_of
    place = make(kind)
    digest = place.digest
    looked = iter([None])  # at first nothing was there
    monkeypatch.setattr(place, "digest", lambda file: next(looked, digest(file)))
    with pytest.raises(IntegrityError, match="to be read back, found "):
        upload.send(path, manifest.record(path).sha256, place)
    assert digest(path.name) == hashlib.sha256(b"other").hexdigest()


def answer(place, event, status, code, *, when=lambda _: True):
    """Let the store answer requests of one kind so, where ``when`` says so of them."""
    from botocore.awsrequest import AWSResponse

    def answered(params, **_):
        if not when(params):
            return None
        said = {"Error": {"Code": code, "Message": "..."}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return AWSResponse("", status, {}, None), said

    place._client.meta.events.register(f"before-call.s3.{event}", answered)  # noqa: SLF001 - no server here says so


@pytest.mark.usefixtures("bucket")
def test_a_store_that_may_not_be_listed_is_believed_when_it_gives_the_file_back(asset):
    place = upload.destination("s3://assets/x", QUICK)
    looked = iter([True])  # Amazon's says AccessDenied for NoSuchKey to whoever has no right to list
    answer(place, "GetObject", 403, "AccessDenied", when=lambda _: next(looked, False))
    assert upload.send(asset, SHA256, place)
    assert not upload.send(asset, SHA256, place)
    looked = iter([True])
    assert upload.send(asset, SHA256, place)  # it was there, was not written over, and is the same
    looked = iter([True, True])
    with pytest.raises(FetchError, match=r"s3://assets/x/net-12345678.ckpt: .*found AccessDenied"):
        upload.send(asset, SHA256, place)


def test_a_store_that_knows_no_conditions_gets_the_file_where_it_says_that_nothing_is(asset, bucket):
    place = upload.destination("s3://assets", QUICK)
    answer(place, "PutObject", 501, "NotImplemented", when=lambda params: "If-None-Match" in params["headers"])
    assert upload.send(asset, SHA256, place)
    bucket.delete_object(Bucket="assets", Key=asset.name)
    place = upload.destination("s3://assets", QUICK)
    answer(place, "PutObject", 501, "NotImplemented", when=lambda params: "If-None-Match" in params["headers"])
    answer(place, "GetObject", 403, "AccessDenied")
    with pytest.raises(FetchError, match="found NotImplemented"):
        upload.send(asset, SHA256, place)
    assert not bucket.list_objects_v2(Bucket="assets").get("Contents")


def test_such_a_store_s_file_that_it_hides_is_not_written_over_after_one_that_it_told_of(asset, bucket):
    place = upload.destination("s3://assets", QUICK)
    answer(place, "PutObject", 501, "NotImplemented", when=lambda params: "If-None-Match" in params["headers"])
    assert upload.send(asset, SHA256, place)
    other = asset.with_name("other.ckpt")
    other.write_bytes(asset.read_bytes())
    bucket.put_object(Bucket="assets", Key=other.name, Body=b"somebody else's")
    answer(place, "GetObject", 403, "AccessDenied", when=lambda params: params["url_path"].endswith(other.name))
    with pytest.raises(FetchError, match="found NotImplemented"):
        upload.send(other, SHA256, place)
    assert bucket.get_object(Bucket="assets", Key=other.name)["Body"].read() == b"somebody else's"


def test_a_folder_without_hard_links_keeps_what_somebody_else_put_there_meanwhile(asset, tmp_path, monkeypatch):
    def linked(self, *_):
        self.write_bytes(b"somebody else's")
        raise PermissionError(1, "Operation not permitted")

    assert upload.send(asset, SHA256, upload.destination(str(tmp_path / "linked"), QUICK))
    monkeypatch.setattr(Path, "hardlink_to", linked)
    with pytest.raises(HubpkgError, match="found "):
        upload.send(asset, SHA256, upload.destination(str(tmp_path / "own"), QUICK))
    assert (tmp_path / "own" / asset.name).read_bytes() == b"somebody else's"
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    assert upload.send(asset, SHA256, upload.destination(str(tmp_path / "other"), QUICK))


def test_a_store_gets_a_large_file_in_parts(bucket, tmp_path):
    path = tmp_path / "large.ckpt"
    path.write_bytes(bytes(9 << 20))  # boto3 sends more than 8 MiB in parts
    assert upload.send(path, manifest.record(path).sha256, upload.destination("s3://assets", QUICK))
    assert "-2" in bucket.head_object(Bucket="assets", Key="large.ckpt")["ETag"]


@pytest.mark.usefixtures("bucket")
def test_what_a_store_refuses_is_told_in_a_line(asset, monkeypatch):
    with pytest.raises(FetchError, match=r"s3://none/net-12345678.ckpt: .*NoSuchBucket.*AWS_ENDPOINT_URL"):
        send(asset, "s3://none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match="found EndpointConnectionError"):
        send(asset, "s3://assets")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    with pytest.raises(FetchError, match=r"found NoCredentialsError.*AWS_ACCESS_KEY_ID"):
        send(asset, "s3://assets")


@pytest.fixture
def package(tmp_path):
    return tiny.make(tmp_path / "dist")


def publish(package, to, base=None, policy=QUICK):
    told = []
    order = {"hub": None, "branch": None, "replace": False, "to": str(to), "base": base}
    checked, result = publication.publish(publication.Order(package, **order, policy=policy, report=told.append))
    assert checked.ok
    return result, told


def contents(package):
    return json.loads((package / "hubpkg.json").read_bytes())


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_card_links_to_the_server_once_the_assets_were_read_back_from_it(package, hubpkg):
    with shelf() as (url, kept, _):
        result, _ = publish(package, f"{url}/assets")
        name = contents(package)["checkpoint"]["file"]
        assert kept[f"/assets/{name}"] == (package / name).read_bytes()
        assert result["published"] is contents(package)["published"] is True
        assert result["assets"] == [f"{url}/assets/{name}"]
        card = (package / "tiny_digits.md").read_text()
        assert f"asset-link: <{url}/assets/{name}>" in card
        assert "Not published" not in card
        assert verification.verify(package).ok
        before = files(package)
        publish(package, f"{url}/assets")
        assert files(package) == before
        done = hubpkg("verify", "--online", package)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"links: {name} was read back from {url}" in done.stdout
        kept[f"/assets/{name}"] = b"other"
        done = hubpkg("verify", "--online", package)
        assert done.returncode == 1
        assert re.search(f"FAIL links: {name}: .*expected sha256", done.stdout)


def test_a_link_that_does_not_lead_to_the_folder_leaves_the_package_as_it_was(package, tmp_path):
    before = files(package.parent)
    with served(tmp_path) as (url, _):
        with pytest.raises(InvalidDocumentError, match="found no such file; the files are in their place"):
            publish(package, tmp_path / "assets", f"{url}/elsewhere/")
        assert files(package.parent) == before
        publish(package, tmp_path / "assets", f"{url}/assets")
    assert contents(package)["card"]["asset-base-url"] == f"{url}/assets/"


def test_a_store_is_read_by_its_own_address_and_by_the_links(package, bucket, store):
    bucket.put_bucket_acl(Bucket="assets", ACL="public-read")
    result, told = publish(package, "s3://assets/a", f"{store}/assets/a/")
    assert result["published"]
    assert told[0].startswith("s3://assets/a/tiny-")
    assert told[1].startswith(f"links: tiny-{contents(package)['checkpoint']['sha256'][:8]}.ckpt was read back from")


def test_an_address_that_a_card_can_t_have_is_refused_before_anything_is_sent(package, tmp_path):
    with pytest.raises(InvalidDocumentError, match=r"--asset-base-url: .*expected a URL that ends in '/'"):
        publish(package, tmp_path / "assets", "no address")
    assert not (tmp_path / "assets").exists()


def test_a_signature_and_a_report_that_fit_no_more_are_told(package):
    for suffix in ("sig", "report.html"):
        Path(f"{package}.{suffix}").write_text("of the package as it was")
    with shelf() as (url, _, _):
        _, told = publish(package, url)
    assert any("sign it again: hubpkg sign" in line for line in told)
    assert "make it again: hubpkg report" in told[-1]


def test_a_package_that_is_reached_by_a_link_is_replaced_in_its_own_place(package, tmp_path):
    (tmp_path / "link").symlink_to(package)
    with shelf() as (url, _, _):
        publish(tmp_path / "link", url)
    assert (tmp_path / "link").is_symlink()
    assert contents(package)["published"]


def test_where_the_package_can_t_be_replaced_nothing_is_sent(package, tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def deny(path, *arguments, **options):  # root may write to any folder
        if path.parent == package.parent:
            raise PermissionError(13, "Permission denied", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(HubpkgError, match=rf"{package.parent}: expected a folder that can be written, found: Perm"):
        publish(package, tmp_path / "assets", "https://localhost/assets/")
    assert not (tmp_path / "assets").exists()


def test_publishing_needs_the_network(package):
    with pytest.raises(FetchError, match="unset HUBPKG_OFFLINE"):
        publish(package, "https://localhost/a/", policy=Policy(offline=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --hub CHECKOUT, --to DIR|URL or both, found neither"),
        (("--hub", ".", "--asset-base-url", "https://example.com/"), "--asset-base-url: expected it with --to"),
        (("--to", ".", "--branch", "x"), "--branch: expected it with --hub"),
    ],
)
def test_options_that_do_nothing_are_refused(package, hubpkg, arguments, message):
    done = hubpkg("publish", package, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_package_that_was_not_there_is_told(hubpkg, tmp_path):
    done = hubpkg("publish", tmp_path / "none", "--to", tmp_path / "to")
    assert (done.returncode, shutil.os.listdir(tmp_path)) == (2, [])


KILLED = """
import sys
from pathlib import Path
import stopping
from hubpkg import publication, revision, verification
from hubpkg.transport import Policy

package, to, base = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
order = publication.Order(package, None, None, False, to, base, Policy(), lambda _: None)
was = (package / "hubpkg.json").read_bytes()
verification.verify(package)  # so that no process need import what it does

def changes_files(event, values):
    writes = event == "open" and set(str(values[1])) & set("wx")
    return writes or event in {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}

def publish():
    revision.recover(package, print)
    publication.publish(order)

for count, done in stopping.everywhere(publish, changes_files):
    revision.recover(package, lambda _: None)
    assert verification.verify(package).ok, count
    now = (package / "hubpkg.json").read_bytes()
    assert b'"published":true' in now or (now == was and not done)
print(count, *sorted(path.name for path in package.parent.iterdir()))
"""


def test_killed_before_any_change_to_files_the_package_is_whole_and_the_next_run_goes_on(package, tmp_path):
    with served(tmp_path) as (url, _):
        told = stopping.run(
            KILLED, package, tmp_path / "assets", f"{url}/assets/", HUBPKG_CACHE=str(tmp_path / "cache")
        )
    count, *left = told.split()
    assert int(count) > 20
    assert [name for name in left if not name.startswith(".hubpkg-")] == [package.name]  # where it tries to write


@pytest.mark.parametrize("where", ["ftp://example.com/x", "htps://example.com/"])
def test_an_address_of_no_known_kind_is_no_folder(where):
    with pytest.raises(HubpkgError, match=r"--to: expected a folder, s3://BUCKET/PREFIX or an https URL, found"):
        upload.destination(where, QUICK)


def test_assets_are_not_put_into_the_package_itself(package):
    with pytest.raises(HubpkgError, match="--to: expected a place outside the package"):
        publish(package, package / "assets", "https://example.com/")
    assert verification.verify(package).ok
