"""Verify a package: its bytes, its entrypoint, its figures and its card against manifest and evidence."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hubpkg import (
    assembly,
    bom,
    card,
    documents,
    entrypoint,
    evaluation,
    exports,
    manifest,
    performance,
    predictions,
    provenance,
    recipe,
    trained,
)
from hubpkg.errors import HubpkgError, InvalidDocumentError


@dataclass(frozen=True)
class Check:
    """One check of a package: whether it holds, and what was found."""

    name: str
    ok: bool
    detail: str

    def __post_init__(self) -> None:
        # A detail may quote the package, which must not pass its text off as lines of the output.
        printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in self.detail)
        object.__setattr__(self, "detail", printable)


@dataclass(frozen=True)
class Verification:
    """The checks of one package; it is verified when all of them hold.

    Attributes:
        package: its folder.
        checks: what was checked.
        records: of all its files, by name; none if one can't be hashed.
    """

    package: Path
    checks: tuple[Check, ...]
    records: Mapping[str, manifest.FileRecord] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """What ``hubpkg verify --json`` prints."""
        return {"package": str(self.package), "ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def verify(package: Path) -> Verification:
    """Check the package in the folder ``package`` without running anything of it; needs no framework and no network.

    Whatever is wrong with the package is a finding, a missing or unreadable manifest too.
    """
    files = tuple(_files_in(package))
    special = [file for file in files if (package / file).is_symlink() or not (package / file).is_file()]
    if special:  # to read one could take for ever
        details = [f"{file}: expected a file, found a link or a special file" for file in special]
        return Verification(package, tuple(Check("files", ok=False, detail=detail) for detail in details))
    try:
        records = manifest.records(package, files)
    except OSError as error:
        return Verification(package, (Check("files", ok=False, detail=_unreadable(error)),))
    try:
        contents = manifest.read(package / manifest.NAME)
    except InvalidDocumentError as error:
        faults = tuple(Check("manifest", ok=False, detail=fault) for fault in error.faults)
        return Verification(package, faults, records)
    except HubpkgError as error:
        return Verification(package, (Check("manifest", ok=False, detail=f"{error}{_inside(package)}"),), records)
    checks = [Check("manifest", ok=True, detail=f"{contents['uid']}, canonical, as its digests say")]
    steps: list[tuple[str, Callable[[Path, Mapping[str, Any]], str]]] = [
        ("files", partial(_check_files, records)),
        ("bytecode", _check_bytecode),
        ("checkpoint", _check_checkpoint),
        ("exports", lambda _, contents: exports.check(contents)),
        ("entrypoint", _check_entrypoint),
        ("evaluation", _check_evaluation),
        ("performance", _check_performance),
        ("training", trained.check),
        ("card", _check_card),
        ("bom", partial(_check_made, bom.FILE, bom.render)),
        ("provenance", partial(_check_made, provenance.FILE, provenance.render)),
    ]
    for name, step in steps:
        try:
            checks.append(Check(name, ok=True, detail=step(package, contents)))
        except InvalidDocumentError as error:
            checks += [Check(name, ok=False, detail=fault) for fault in error.faults]
        except HubpkgError as error:
            checks.append(Check(name, ok=False, detail=str(error)))
        except RecursionError:
            detail = f"{manifest.NAME}: expected values that can be read, found some nested too deep"
            checks.append(Check(name, ok=False, detail=detail))
        except OSError as error:
            checks.append(Check(name, ok=False, detail=_unreadable(error)))
    return Verification(package, tuple(checks), records)


def _inside(folder: Path) -> str:
    """What there is to say of the packages in ``folder``, which is none itself."""
    found = sorted(path.parent for path in folder.glob(f"*/{manifest.NAME}"))
    if not found:
        return ""
    which = f"{found[0]}, or all" if len(found) > 1 else str(found[0])
    return f"; packages are in it: give {which}{f': {shlex.quote(str(folder))}/*/' if len(found) > 1 else ''}"


def _unreadable(error: OSError) -> str:
    return f"{error.filename}: expected a readable file, found: {error.strerror}"


def _is_bytecode(file: str) -> bool:
    return file.endswith((".pyc", ".pyo")) or "__pycache__" in file.split("/")


def _files_in(package: Path) -> Iterator[str]:
    """The names of all files in ``package``, links and special files too, as the manifest spells them."""
    for path in sorted(package.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(package).as_posix()


def _check_files(records: Mapping[str, manifest.FileRecord], _package: Path, contents: Mapping[str, Any]) -> str:
    listed = contents["files"]
    present = records.keys() - {manifest.NAME}
    faults = [f"{file}: expected this file, found it missing" for file in sorted(listed.keys() - present)]
    faults += [
        f"{file}: expected no such file, found one that the manifest does not list"
        for file in sorted(present - listed.keys())
        if not _is_bytecode(file)
    ]
    for file in sorted(listed.keys() & present):
        found = asdict(records[file])
        faults += [
            f"{file}: {key}: expected {listed[file][key]}, found {found[key]}"
            for key in ("size", "sha256")
            if found[key] != listed[file][key]
        ]
    if faults:
        raise InvalidDocumentError(faults)
    return f"{len(listed)} files, {sum(file['size'] for file in listed.values())} bytes, as listed"


def _check_bytecode(package: Path, contents: Mapping[str, Any]) -> str:
    found = [file for file in _files_in(package) if _is_bytecode(file)]
    if found:
        remove = shlex.join(
            [
                "find",
                str(package),
                "(",
                "-name",
                "__pycache__",
                "-o",
                "-name",
                "*.py[co]",
                ")",
                "-prune",
                "-exec",
                "rm",
                "-r",
                "{}",
                "+",
            ]
        )
        raise InvalidDocumentError(
            [
                f"{file}: bytecode, which Python can run in place of the source that was hashed; "
                f"remove it with: {remove}"
                for file in found
            ]
        )
    return f"none beside the sources in {contents['entry']}/"


def _check_checkpoint(_package: Path, contents: Mapping[str, Any]) -> str:
    file, sha256 = contents["checkpoint"]["file"], contents["checkpoint"]["sha256"]
    listed = contents["files"].get(file, {"sha256": "none"})["sha256"]
    if listed != sha256:
        raise HubpkgError(
            f"{manifest.NAME}: checkpoint.sha256: expected {listed}, as listed for {file}, found {sha256}"
        )
    expected = f"{contents['model']}-{sha256[:8]}.ckpt"
    if file != expected:
        raise HubpkgError(f"{manifest.NAME}: checkpoint.file: expected {expected}, found {file}")
    return f"{file} carries its digest in its name"


def _check_entrypoint(package: Path, contents: Mapping[str, Any]) -> str:
    name = f"{contents['entry']}/{entrypoint.FILE}"
    entrypoint.check((package / name).read_bytes(), name)
    return f"{name} defines {entrypoint.FUNCTION}(name, ...)"


def evaluation_of(package: Path) -> dict[str, Any]:
    """The metrics that the package's predictions show, as the manifest holds them."""
    return evaluation.evaluate(predictions.read(package / predictions.FILE)).as_json()


def performance_of(package: Path) -> dict[str, Any]:
    """The figures that the package's timing samples and parameters show, as the manifest holds them."""
    timings = performance.read_timings(package / performance.TIMING)
    return performance.measure(timings, performance.read_parameters(package / performance.PARAMETERS)).as_json()


def _check_evaluation(package: Path, contents: Mapping[str, Any]) -> str:
    found = evaluation.evaluate(predictions.read(package / predictions.FILE))
    measured, data = contents["evaluation"], contents["inputs"]["data"]["test"]
    regression = recipe.is_regression(contents["inputs"]["recipe"])
    if regression is not (found.top1 is None):
        kinds = ("outputs of a regression", "classes and logits")
        expected, other = kinds if regression else kinds[::-1]
        raise HubpkgError(f"{predictions.FILE}: expected {expected}, as the recipe says, found {other}")
    computed = found.as_json()
    if found.top5 is not None and "top5" in measured:  # of few classes it need not be there
        computed["top5"] = asdict(found.top5)
    _compare("evaluation", predictions.FILE, computed, measured)
    own = _own_metrics(contents)
    if measured["samples"] != data["images"] - len(data["damaged"]):
        raise HubpkgError(
            f"{manifest.NAME}: inputs.data.test: expected {measured['samples']} images that were not left out, as "
            f"{predictions.FILE} has them, found {data['images']} less {len(data['damaged'])}"
        )
    told = [
        f"{claim.metric} {claim.percent:g} % as reported by {claim.source} lies {claim.lies} the measured interval, "
        f"{claim.measured.low:.2f} to {claim.measured.high:.2f}"
        for claim in evaluation.claims(contents["card"].get("reported", ()), measured)
    ]
    of = f"of {measured['samples']} {recipe.noun(contents['inputs']['recipe'])}s"
    shares = [f"top-{key[3:]} {measured[key]['percent']:.2f} %" for key in ("top1", "top5") if key in measured]
    first = f"{', '.join(shares)} {of}, computed again from {predictions.FILE}"
    return "; ".join([first if shares else f"the outputs {of} are in {predictions.FILE}", *told, *own])


def _own_metrics(contents: Mapping[str, Any]) -> list[str]:
    """What there is to say of the metrics that the package's own code computed; there have to be some of a regression.

    Raises:
        HubpkgError: the code that computes them is not there.
    """
    metrics, file = contents["evaluation"].get("metrics", {}), contents["inputs"].get("extension")
    if not metrics and recipe.is_regression(contents["inputs"]["recipe"]):
        raise HubpkgError(f"{manifest.NAME}: evaluation.metrics: expected the metrics of a regression, found none")
    if metrics and f"{contents['entry']}/{file}" not in contents["files"]:
        raise HubpkgError(
            f"{manifest.NAME}: inputs.extension: expected the file of {contents['entry']}/ that computes "
            f"{', '.join(metrics)}, found {file or 'none'}"
        )
    return [
        f"{name} {entry['value']:g}{entry['unit'] and ' ' + entry['unit']} is as the package's own {file} computed it: "
        "verify --rerun runs that again"
        for name, entry in metrics.items()
    ]


def _check_performance(package: Path, contents: Mapping[str, Any]) -> str:
    _compare("performance", performance.TIMING, performance_of(package), contents["performance"])
    return (
        f"{len(contents['performance'])} figures, computed again from {performance.TIMING} and {performance.PARAMETERS}"
    )


# What may be in one package's manifest and not in another's, but has to be in both or neither of claim and evidence.
_COMPUTED = {"evaluation": {"top1", "top5"}, "performance": {"image_size"}}


def _compare(section: str, source: str, computed: Mapping[str, Any], claimed: Mapping[str, Any]) -> None:
    faults = []
    for key in sorted(_COMPUTED[section] & (claimed.keys() ^ computed.keys())):
        expected, found = ("no such key", "one") if key in claimed else ("this key", "none")
        faults.append(f"{manifest.NAME}: {section}.{key}: expected {expected}, as {source} shows, found {found}")
    for key, value in computed.items():
        if key not in claimed:
            continue
        if isinstance(value, dict):
            faults += [
                f"{manifest.NAME}: {section}.{key}.{part}: expected {value[part]}, as {source} shows, "
                f"found {claimed[key][part]}"
                for part in value
                if value[part] != claimed[key][part]
            ]
        elif value != claimed[key]:
            faults.append(
                f"{manifest.NAME}: {section}.{key}: expected {value}, as {source} shows, found {claimed[key]}"
            )
    if faults:
        raise InvalidDocumentError(faults)


def _check_card(package: Path, contents: Mapping[str, Any]) -> str:
    name = assembly.card_name(contents)
    expected = card.render(contents)
    compare_text(name, expected, (package / name).read_bytes())
    documents.check(card.parse(expected, name).document, "card")
    return f"{name} is what template {contents['template']} makes of the manifest, byte for byte"


def _check_made(
    name: str, render: Callable[[Mapping[str, Any]], str], package: Path, contents: Mapping[str, Any]
) -> str:
    compare_text(name, render(contents), (package / name).read_bytes())
    return f"{name} is what the manifest says, byte for byte"


def compare_text(name: str, expected: str, raw: bytes) -> None:
    """Raise InvalidDocumentError with each line of the file ``name`` that is not as in ``expected``."""
    if raw != expected.encode():
        raise InvalidDocumentError(list(_text_faults(name, expected, raw)))


def _text_faults(name: str, expected: str, raw: bytes) -> Iterator[str]:
    """A sentence for each line of the file that is not as rendered, naming the field that it holds."""
    found = raw.decode("utf-8", errors="replace")
    wanted_lines, found_lines = expected.splitlines(keepends=True), found.splitlines(keepends=True)
    for number, (wanted, line) in enumerate(zip_longest(wanted_lines, found_lines, fillvalue=""), start=1):
        if wanted != line:
            yield f"{name}:{number}: {_field(wanted_lines, wanted, line, number)}"
            if len(wanted_lines) != len(found_lines):  # every later line would differ too
                yield f"{name}: expected {len(wanted_lines)} lines, found {len(found_lines)}"
                return


def _field(lines: list[str], wanted: str, found: str, number: int) -> str:
    if wanted.startswith("|") and wanted.count("|") == found.count("|"):
        rows = [i for i in range(number) if not lines[i].startswith("|")]
        header = lines[rows[-1] + 1]
        cells = zip(*(line.strip().strip("|").split("|") for line in (header, wanted, found)), strict=True)
        for column, expected, value in cells:
            if expected != value:
                return f"column {column.strip()!r}: expected {expected.strip()!r}, found {value.strip()!r}"
    key, colon, _ = wanted.partition(": ")
    label = f"{key.strip()}: " if colon and " " not in key.strip() else ""
    return f"{label}expected {wanted.strip()!r}, found {found.strip()!r}"
