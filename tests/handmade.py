"""Cards made by hand, without a manifest: a network of four weights whose code is in a git repository.

The code keeps a record of its runs, so that a test can tell that nothing ran.
"""

import hashlib
import json
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import hubpkg
from hubpkg import lockfile
from hubpkg.errors import HubpkgError
from hubpkg.runtime import framework

ENTRY = "net"
CONF = "mindspore_hub_conf.py"
SOURCE = """
from pathlib import Path

import mindspore


def record(what):
    with Path({record!r}).open("a") as file:
        file.write(what + "\\n")


record("{mark} run")


def create_network(name):
    record("{mark} asked for " + name)
    return mindspore.nn.Dense(2, 2)
"""
CARD = """# A card of the kind that has no manifest

---

model-name: Net

repo-link: {link}

asset: {assets}

license: MIT

---

Text.
"""


def git(folder, *arguments, given=None):
    """What git prints; it reads no settings but these."""
    settings = ("user.name=A", "user.email=a@example.com", "init.defaultBranch=main", "protocol.file.allow=always")
    options = [option for setting in settings for option in ("-c", setting)]
    done = subprocess.run(
        ["git", *options, *arguments],  # noqa: S607 - the git that hubpkg finds
        cwd=folder,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        input=given,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def save_checkpoint(path, **parameters):
    """Write numpy arrays, by the parameters' names, as MindSpore does."""
    mindspore = framework.load()
    saved = [{"name": name, "data": mindspore.Tensor(value)} for name, value in parameters.items()]
    path.unlink(missing_ok=True)
    mindspore.save_checkpoint(saved, str(path))


WEIGHTS = {"weight": np.array([[1, 2], [3, 4]], np.float32), "bias": np.array([5, 6], np.float32)}


def assert_loaded(network):
    """It is the hand-made network, with the weights of its checkpoint."""
    parameters = network.parameters_dict()
    assert parameters.keys() == WEIGHTS.keys()
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(parameter.asnumpy(), WEIGHTS[name])
    assert not network.training


class Card:
    """A card in a folder of its own, its checkpoint beside it, and a git repository with its code."""

    def __init__(self, folder):
        self.repository = folder / "repository"
        self.code = self.repository / ENTRY
        self.path = folder / "cards" / "card.md"
        self.checkpoint = self.path.with_name("net.ckpt")
        self.link = f"{self.repository}/tree/main/{ENTRY}"
        self.asset = "https://example.com/assets/net.ckpt"
        self.record = folder / "record"
        self.path.parent.mkdir()
        save_checkpoint(self.checkpoint, **WEIGHTS)
        self.write()
        self.code.mkdir(parents=True)
        (self.code / CONF).write_text(self.source("first"), encoding="utf-8")
        git(self.repository, "init", "--quiet")
        self.commit()

    def source(self, mark):
        return SOURCE.format(record=str(self.record), mark=mark)

    def write(self, **more):
        """The card, with the digest of the checkpoint as it is, or with other values in its asset."""
        asset = {
            "file-format": "ckpt",
            "asset-link": self.asset,
            "asset-sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
        }
        text = CARD.format(link=json.dumps(self.link), assets=json.dumps([asset | more]))
        self.path.write_text(text, encoding="utf-8")

    def commit(self, *options):
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "--message=code", *options)

    def change(self, mark, *options):
        (self.code / CONF).write_text(self.source(mark), encoding="utf-8")
        self.commit(*options)

    def load(self, **options):
        """Load, and see that it is the right network."""
        network = hubpkg.load(self.path, **options)
        assert_loaded(network)
        return network

    def runs(self):
        """What the code did since this was last asked."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return lines

    def refused(self, kind, pattern, **options):
        """Load and be refused with an error of exactly that kind that fits, before the code runs; what it says."""
        told = refused(partial(hubpkg.load, self.path, trust_repo=True, **options), kind, pattern)
        assert not self.runs()
        assert not lockfile.read("code")
        return f"{told}; nothing ran"

    def works(self, mark="first", **options):
        """Load without any cleaning up, and see that just that code ran."""
        self.load(trust_repo=True, **options)
        assert self.runs() == [f"{mark} run", f"{mark} asked for net"]


def refused(act, kind, pattern):
    with pytest.raises(HubpkgError) as caught:
        act()
    assert type(caught.value) is kind
    found = re.search(pattern, str(caught.value))
    assert found, str(caught.value)
    return f"{kind.__name__}: {found[0]}"


@contextmanager
def served(folder):
    """The URL of ``folder`` on loopback, and the list of the paths that are asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with serving(partial(Handler, directory=str(folder))) as url:
        yield url, asked


@contextmanager
def serving(handler):
    """The URL of a server on loopback whose requests ``handler`` answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
