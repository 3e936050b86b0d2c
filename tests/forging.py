"""Packages as a forger leaves them: changed, and then made right in themselves again."""

import json

from hubpkg import assembly, manifest, trained, verification


def read_manifest(package):
    """The manifest without its digests."""
    contents = json.loads((package / manifest.NAME).read_bytes())
    del contents["digests"]
    return contents


def reseal(package, contents=None):
    """Write a manifest that is right in itself and lists the package's files as they are."""
    assembly.seal(package, contents or read_manifest(package))


def agree(package, contents):
    """Let the record of the training say what the manifest ``contents`` does."""
    file = package / "evidence" / trained.RECORD
    record = json.loads(file.read_text(encoding="utf-8"))
    record |= {key: contents["inputs"][key] for key in ("recipe", "data")}
    file.write_text(json.dumps(record), encoding="utf-8")


def remake(package, contents=None):
    """Fit the checkpoint's name, the metrics and what is made of them to the files, and reseal: static checks hold."""
    contents = contents or read_manifest(package)
    old = package / contents["checkpoint"]["file"]
    sha256 = manifest.record(old).sha256
    contents["checkpoint"] |= {"file": f"{contents['model']}-{sha256[:8]}.ckpt", "sha256": sha256}
    old.rename(package / contents["checkpoint"]["file"])
    contents["evaluation"] |= verification.evaluation_of(package)
    agree(package, contents)
    assembly.finish(package, contents)
    assert verification.verify(package).ok
