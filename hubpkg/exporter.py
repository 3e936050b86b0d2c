"""A package -> its weights in other formats beside the checkpoint, each loaded back and compared first."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import evaluation, exports, hub, manifest, revision
from hubpkg import recipe as recipes
from hubpkg.errors import EngineError, HubpkgError
from hubpkg.job import check_writable


@dataclass(frozen=True)
class Reference:
    """What a package's network gives for a few random inputs: its exports are held to it.

    Attributes:
        recipe: the package's.
        batch: the inputs.
        expected: what the network gives for each of them, of shape (1, outputs).
    """

    recipe: Mapping[str, Any]
    batch: Any
    expected: Sequence[Any]

    @classmethod
    def of(cls, network: Any, recipe: Mapping[str, Any], seed: int = 0) -> "Reference":
        """Run ``network`` on inputs of the kind that ``recipe`` tells, drawn by ``seed``."""
        from hubpkg.runtime import engines

        batch = engines.drawn(recipe, exports.COMPARED, seed)
        return cls(recipe, batch, [engines.run_network(network, one[None]) for one in batch])

    def compare(self, run: Callable[[Any], Any], tolerance: float, *, ranks: bool) -> float:
        """How far what ``run`` gives for the inputs, one at a time, lies from the network's at most.

        With ``ranks``, logits have to have the same top-1, too.

        Raises:
            EngineError: further than ``tolerance``, or it is something else.
        """
        from hubpkg.runtime import engines

        return max(
            engines.compare(expected, run(one[None]), self.recipe, tolerance, ranks=ranks)
            for one, expected in zip(self.batch, self.expected, strict=True)
        )


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
        EngineError: a format can't be made of the network, or gives other outputs; the package is as it was.
        HubpkgError: the environment lacks something, or the package does not load.
    """
    from hubpkg.runtime import engines, exporting, framework

    contents = manifest.read(package / manifest.NAME)
    recipe = contents["inputs"]["recipe"]
    for kind in formats:
        if (lacking := exporting.lacking(kind)) is not None:
            raise HubpkgError(f"--format {kind}: {lacking}")
    check_writable(package.resolve().parent)
    framework.start(recipe["jit_level"], device)

    def network() -> Any:
        try:
            return hub.load(str(package))  # a new one each time: MindSpore can't export one network twice
        except HubpkgError:
            raise
        except (Exception, SystemExit) as error:  # the package's code may raise anything
            told = str(error).partition("\n")[0]
            raise HubpkgError(f"{package}: expected it to load, found {type(error).__name__}: {told}") from error

    reference = Reference.of(network(), recipe)
    made: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="hubpkg-") as folder:
        added = {}
        for kind in formats:
            file = Path(folder) / f"network.{kind}"
            try:
                exporting.write(network(), kind, reference.batch[:1], file)
                largest = reference.compare(
                    exporting.loaded(file, kind, network), evaluation.ENGINE_TOLERANCE, ranks=True
                )
            except EngineError as error:
                raise EngineError(f"{kind}: {error}; nothing was added") from None
            except OSError as error:
                raise HubpkgError(
                    f"{kind}: expected to write it to {folder}, found: {error.strerror}; free some space there, or "
                    "name another folder in the environment variable TMPDIR; nothing was added"
                ) from None
            sha256 = manifest.record(file).sha256
            name = exports.file_name(contents["model"], sha256, kind)
            compared = {"images": exports.COMPARED, "largest": engines.rounded_up(largest)}
            made[kind] = {"format": kind, "file": name, "sha256": sha256, "compared": compared}
            added[name] = file
            report(f"{name}: loaded back, {_held(recipe, compared['largest'])}")
        kept: dict[str, Any] = {old["format"]: old for old in exports.listed(contents)}
        listed = [({**kept, **made})[kind] for kind in exports.FORMATS if kind in {**kept, **made}]
        gone = {old["file"] for old in kept.values()} - {entry["file"] for entry in listed}
        revision.revise(package, {**contents, "published": False, "exports": listed}, report, added, frozenset(gone))
    return listed


def again(
    package: Path, contents: Mapping[str, Any], network: Callable[[], Any], device: str
) -> Iterator[tuple[bool, str]]:
    """Compare each export that ``contents``, the package's manifest, lists once more: whether it holds, and the detail.

    On the inputs that it was listed by it may lie as far from the network as it did then, and further by what other
    processors' kernels move a logit. A forger knows them. So there are as many more, which the manifest's own digest
    draws: nobody can fit to them a file that the manifest has the digest of.

    Args:
        package: its folder.
        contents: its manifest.
        network: makes the package's network, with its weights.
        device: what MindSpore runs on.
    """
    from hubpkg.runtime import exporting

    recipe, seed = contents["inputs"]["recipe"], int(manifest.record(package / manifest.NAME).sha256, 16)
    references: tuple[Reference, ...] = ()
    for entry in exports.listed(contents):
        file, kind = entry["file"], entry["format"]
        if (lacking := exporting.lacking(kind)) is not None:
            yield True, f"{file}: NOT CHECKED: {lacking}"
            continue
        widest = evaluation.ENGINE_TOLERANCE if device == "CPU" else evaluation.DEVICE_TOLERANCE
        listed = entry["compared"]["largest"] + evaluation.LOGIT_TOLERANCE
        tolerances = (min(listed, widest) if device == "CPU" else widest, widest)
        try:
            if not references:
                ours = network()
                references = (Reference.of(ours, recipe), Reference.of(ours, recipe, seed))
            run = exporting.loaded(package / file, kind, network)
            largest = max(
                one.compare(run, allowed, ranks=False)  # logits may lie closer together than the tolerance
                for one, allowed in zip(references, tolerances, strict=True)
            )
        except OSError:  # the environment lacks something
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - ONNX Runtime's have no base; so has the package's code
            told = str(error).strip().partition("\n")[0]
            yield False, f"{file}: {told if isinstance(error, HubpkgError) else f'{type(error).__name__}: {told}'}"
        else:
            yield True, f"{file}: loaded and run again, {_held(recipe, largest, 2 * exports.COMPARED)}"


def _held(recipe: Mapping[str, Any], largest: float, count: int = exports.COMPARED) -> str:
    what = "outputs" if recipes.is_regression(recipe) else "logits"
    return f"{what} within {largest:.2g} of MindSpore's on {count} random {recipes.noun(recipe)}s"
