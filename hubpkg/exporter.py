"""A package -> its weights in other formats beside the checkpoint, each loaded back and compared first."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hubpkg import evaluation, exports, hub, manifest, revision
from hubpkg.errors import EngineError, HubpkgError

_IMAGES = 8  # that logits are compared on


def export(
    package: Path, formats: Sequence[str], device: str | None, report: Callable[[str], None]
) -> list[Mapping[str, Any]]:
    """Add the weights of ``package``, which verifies, in ``formats``; give what its manifest says of them.

    The package's code is run. It is replaced as a whole once every format was compared; what was published of it
    before is published no more, as there is a file more that nobody has read back.

    Args:
        package: its folder.
        formats: of ``exports.FORMATS``; a file of that format that it has is replaced.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        report: told, in one line each, what is done.

    Raises:
        EngineError: a format can't be made of the network, or gives other logits; the package is as it was.
        HubpkgError: the environment lacks something, or the package does not load.
    """
    from hubpkg.runtime import engines, exporting, foreign, framework

    contents = manifest.read(package / manifest.NAME)
    recipe = contents["inputs"]["recipe"]
    if "image_size" not in recipe or "in_channels" not in recipe:
        raise HubpkgError(f"{package}: expected a network of images, which can be exported, found one of other data")
    exporting.check(formats)
    framework.start(recipe["jit_level"], device)
    batch = foreign.images(_IMAGES, recipe["in_channels"], recipe["image_size"])

    def network() -> Any:
        try:
            return hub.load(str(package))  # a new one each time: MindSpore can't export one network twice
        except HubpkgError:
            raise
        except (Exception, SystemExit) as error:  # the package's code may raise anything
            told = str(error).partition("\n")[0]
            raise HubpkgError(f"{package}: expected it to load, found {type(error).__name__}: {told}") from error

    ours = network()
    expected = [engines.run_network(ours, image[None]) for image in batch]
    made: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="hubpkg-") as folder:
        added = {}
        for kind in formats:
            file = Path(folder) / f"network.{kind}"
            exporting.write(network(), kind, batch[:1], file)
            run = exporting.loaded(file, kind, network)
            largest = 0.0
            for image, logits in zip(batch, expected, strict=True):
                found = run(image[None])
                difference = float(abs(found - logits).max()) if found.shape == logits.shape else float("inf")
                if not difference <= evaluation.ENGINE_TOLERANCE or (found.argmax(1) != logits.argmax(1)).any():
                    raise EngineError(
                        f"{kind}: expected MindSpore's logits within {evaluation.ENGINE_TOLERANCE:g} and the same "
                        f"top-1 on {_IMAGES} images, found a difference of {difference:.2g}; nothing was added"
                    )
                largest = max(largest, difference)
            sha256 = manifest.record(file).sha256
            name = exports.file_name(contents["model"], sha256, kind)
            compared = {"images": _IMAGES, "largest": engines.rounded_up(largest)}
            made[kind] = {"format": kind, "file": name, "sha256": sha256, "compared": compared}
            added[name] = file
            report(f"{name}: loaded back, logits within {compared['largest']:g} on {_IMAGES} images")
        kept: dict[str, Any] = {old["format"]: old for old in exports.listed(contents)}
        listed = [({**kept, **made})[kind] for kind in exports.FORMATS if kind in {**kept, **made}]
        gone = {old["file"] for old in kept.values()} - {entry["file"] for entry in listed}
        revision.revise(package, {**contents, "published": False, "exports": listed}, report, added, frozenset(gone))
    return listed
