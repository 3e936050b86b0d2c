"""Packages as a forger leaves them: changed, and then made right in themselves again."""

import json
from dataclasses import asdict

from hubpkg import card, manifest, verification


def read_manifest(package):
    """The manifest without its digests."""
    contents = json.loads((package / manifest.NAME).read_bytes())
    del contents["digests"]
    return contents


def reseal(package, contents=None):
    """Write a manifest that is right in itself and lists the package's files as they are."""
    contents = contents or read_manifest(package)
    present = [file for file in package.rglob("*") if file.is_file() and file.name != manifest.NAME]
    contents["files"] = {str(file.relative_to(package)): asdict(manifest.record(file)) for file in present}
    (package / manifest.NAME).write_bytes(manifest.seal(contents))


def remake(package, contents=None):
    """Fit the checkpoint's name, the metrics and the card to the package's files, and reseal: static checks hold."""
    contents = contents or read_manifest(package)
    old = package / contents["checkpoint"]["file"]
    sha256 = manifest.record(old).sha256
    contents["checkpoint"] |= {"file": f"{contents['model']}-{sha256[:8]}.ckpt", "sha256": sha256}
    old.rename(package / contents["checkpoint"]["file"])
    contents["evaluation"] |= verification.evaluation_of(package)
    (package / f"{contents['package']}.md").write_text(card.render(contents), encoding="utf-8")
    reseal(package, contents)
    assert verification.verify(package).ok
