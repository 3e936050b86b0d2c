"""The forgery campaign: packages changed by somebody who wants a better number, and which check finds each.

``python3 dev.py forgeries`` prints docs/forgeries.md. Every forgery is made from a seed, of one small package that is
built and signed first. Static verification and the signature are asked of all of them; a rerun of those that look right
in themselves.
"""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from conftest import SMALL, make_small
from forging import read_manifest, remake, reseal
from keys import make_key

from hubpkg import checkpoint, hub, manifest, performance, predictions, rerun, signature, signers, verification

COUNTS = {"bytes": 350, "digits": 350, "accuracy": 100, "timings": 30, "weights": 100, "code": 120}
KINDS = []


@dataclass(frozen=True)
class Kind:
    """One kind of forgery.

    Attributes:
        name: what it is called.
        what: what the forger does.
        forge: does it to a package, by a source of random numbers; ``planted`` is a file that code may leave.
    """

    name: str
    what: str
    forge: Callable[[Path, random.Random, Path], None]


def kind(name, what):
    """Make a kind of the function below."""

    def add(forge):
        KINDS.append(Kind(name, what, forge))
        return forge

    return add


@kind("bytes", "1 to 16 bytes of a file changed, added or taken away")
def _(package, chance, _planted):
    files = sorted(path for path in package.rglob("*") if path.is_file())
    file = chance.choice(files)
    data = bytearray(file.read_bytes())
    at, count = chance.randrange(len(data)), chance.randint(1, 16)
    change = chance.choice(["flip", "add", "take"])
    if change == "flip":
        for offset in range(at, min(at + count, len(data))):
            data[offset] ^= chance.randint(1, 255)
    elif change == "add":
        data[at:at] = chance.randbytes(count)
    else:
        del data[at : at + count]
    file.write_bytes(data)


@kind("digits", "1 to 4 digits of the card changed")
def _(package, chance, _planted):
    (file,) = package.glob("*.md")
    text = list(file.read_text(encoding="utf-8"))
    digits = [index for index, letter in enumerate(text) if letter.isascii() and letter.isdigit()]
    for index in chance.sample(digits, chance.randint(1, 4)):
        text[index] = str((int(text[index]) + chance.randint(1, 9)) % 10)
    file.write_text("".join(text), encoding="utf-8")


@kind("accuracy", "1 to 20 images made right in the evidence, or wrong ones left out; card and manifest made to fit")
def _(package, chance, _planted):
    file = package / predictions.FILE
    stored = list(predictions.read(file))
    wrong = [index for index, p in enumerate(stored) if p.label != p.classes[0] and p.logits[0] - p.logits[-1] > 0.01]
    chosen = chance.sample(wrong, min(len(wrong), chance.randint(1, 20)))
    way = chance.choice(["rank", "label", "leave out"])
    for index in chosen:
        old = stored[index]
        if way == "rank":
            others = [c for c in old.classes if c != old.label]
            stored[index] = replace(old, classes=(old.label, *others)[: len(old.classes)])
        elif way == "label":
            stored[index] = replace(old, label=old.classes[0])
    if way == "leave out":
        stored = [prediction for index, prediction in enumerate(stored) if index not in chosen]
    predictions.write(file, stored)
    contents = read_manifest(package)
    contents["inputs"]["data"]["test"]["images"] = len(stored)
    remake(package, contents)


@kind("timings", "training and inference made faster in the evidence; card and manifest made to fit")
def _(package, chance, _planted):
    file = package / performance.TIMING
    data = json.loads(file.read_bytes())
    factor = chance.uniform(0.3, 0.95)
    for part in (data["training"], *data["inference"]):
        part["ms"] = [sample * factor for sample in part["ms"]]
    file.write_text(json.dumps(data), encoding="utf-8")
    contents = read_manifest(package)
    contents["performance"] = verification.performance_of(package)
    remake(package, contents)


@kind("weights", "the weights of another model of this network, digest and name renewed; card and manifest made to fit")
def _(package, chance, _planted):
    from hubpkg.runtime import framework

    (file,) = package.glob("*.ckpt")
    framework.load().set_seed(chance.randrange(1, 2**31))
    checkpoint.save(hub.load(package, pretrained=False), file)
    remake(package)


SHADOWS = [
    "json.py",
    "numpy.py",
    "mindspore.py",
    "logging/__init__.py",
    "typing.pyc",
    "__pycache__/json.cpython-311.pyc",
]


@kind("code", "code put into the entry folder, before it on the path, or into a file that is there; half of it listed")
def _(package, chance, planted):
    source = f"open({str(planted)!r}, 'a').close()\n"
    entry = read_manifest(package)["entry"]
    names = [f"{entry}/{name}" for name in [*SHADOWS, f"{entry}_network/__init__.py"]]
    names += [*SHADOWS, "sitecustomize.py", "mindspore_hub_conf.py", f"{entry}.py"]
    existing = [f"{entry}/mindspore_hub_conf.py", f"{entry}/{entry}_network.py"]
    name = chance.choice([*names, *existing * 4])
    file = package / name
    file.parent.mkdir(exist_ok=True)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before}\n{source}", encoding="utf-8")
    if chance.random() < 0.5:
        reseal(package)


@dataclass(frozen=True)
class Found:
    """What was found of one forgery: the names of the static checks that failed, and whether the others did."""

    static: frozenset
    signature: bool
    rerun: bool | None


def forge(name, number, package, policy):
    """Make the forgery ``number`` of the kind ``name`` of the signed ``package``, and say what finds it."""
    (kind,) = [kind for kind in KINDS if kind.name == name]
    chance = random.Random(f"{kind.name} {number}")  # noqa: S311 - no secret is made of it
    with tempfile.TemporaryDirectory(prefix="forgery-") as folder:
        forged = Path(shutil.copytree(package, Path(folder, package.name)))
        shutil.copyfile(signature.path_of(package), signature.path_of(forged))
        planted = Path(folder, "planted")
        while digests(forged) == digests(package):  # bytes may be added that were there, digits taken for themselves
            kind.forge(forged, chance, planted)
        static = verification.verify(forged)
        signed = signers.verify(static, policy).checks[-1]
        if planted.exists():
            raise AssertionError(f"{kind.name} {number}: code of the package ran in static verification")
        failed = frozenset(check.name for check in static.checks if not check.ok)
        ran = None
        if static.ok:
            where = rerun.Where(None, None, "mindspore", skip_damaged=False, sample=None, report=lambda _: None)
            ran = not rerun.verify(static, where).ok
        return Found(failed, not signed.ok, ran)


def digests(package):
    names = [path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()]
    return {name: record.sha256 for name, record in manifest.records(package, names).items()}


def sign(package, folder):
    """Sign ``package`` with a key that is made in ``folder``; the policy that asks for it."""
    make_key(folder, "key")
    signature.sign(package, signature.Credentials(folder / "key.pem"))
    return signers.of_key(folder / "key.pub")


def main():
    """Print the page."""
    with tempfile.TemporaryDirectory(prefix="forgeries-") as temporary:
        folder = Path(temporary)
        make_small(folder)
        os.environ |= {"HUBPKG_MODELS": str(folder), "HUBPKG_CACHE": str(folder / "cache"), "GLOG_v": "4"}
        build = [sys.executable, "-m", "hubpkg", "build", SMALL, "--engine", "mindspore", "--out", folder]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        package = folder / f"{SMALL}_digits"
        policy = sign(package, folder)
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            rows = {
                kind: list(pool.map(partial(forge, kind.name, package=package, policy=policy), range(count)))
                for kind, count in ((kind, COUNTS[kind.name]) for kind in KINDS)
            }
    print(page(rows))


def page(rows):
    """The page with the table of ``rows``, what was found of each forgery of a kind."""
    lines = [row(kind, found) for kind, found in rows.items()]
    return "\n".join([HEAD.format(count=sum(map(len, rows.values()))), *lines, FOOT])


def row(kind, found):
    """A kind's line of the table."""
    checks = Counter(name for one in found for name in one.static)
    named = ", ".join(f"{name} {count}" for name, count in checks.most_common()) or "none"
    asked = [one.rerun for one in found if one.rerun is not None]
    static = sum(bool(one.static) for one in found)
    signed = sum(one.signature for one in found)
    ran = f"{sum(asked)} of {len(asked)}" if asked else "not asked"
    return f"| {kind.name} | {kind.what} | {len(found)} | {static} | {named} | {signed} | {ran} |"


HEAD = """# Forgeries, and what finds them

A package was changed {count:,} times, each time by a seed of its own, as somebody would who wants a better number.
`python3 dev.py forgeries` does it again and prints this page. The package is of a small network on digits, and was
signed before. `verify` is static; the signature means `verify --public-key`; the rerun, `verify --rerun`, was asked
where static verification found nothing. No code of a package ran without it.

| kind | the forger | forged | `verify` found | by its checks | the signature found | the rerun found |
|---|---|---:|---:|---|---:|---:|"""
FOOT = """
Whoever rewrites evidence, manifest and card so that they agree is found by the rerun where predictions can be made
again, and by the signature in every case. Timings can't be made again by another machine, and code that only adds
something computes the same: these need the signature. [The threat model](threat-model.md) says whom that leaves to be
trusted."""

if __name__ == "__main__":
    main()
