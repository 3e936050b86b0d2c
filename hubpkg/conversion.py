"""Weights from elsewhere -> a checkpoint of a model's own, by the name map in its folder, ``weights.yaml``."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import checkpoint, documents, entrypoint, evaluation, interrupts, manifest, replacement
from hubpkg.errors import CheckpointError, HubpkgError
from hubpkg.job import check_writable
from hubpkg.spec import ModelSpec

FILE = "weights.yaml"
_IMAGES = 2  # that logits are compared on


@dataclass(frozen=True)
class NameMap:
    """What ``weights.yaml`` says.

    Attributes:
        within: keys of a PyTorch file under which the weights may lie.
        arguments: more arguments of create_network, for the network that those weights were trained in.
        reference: timm's name of that network; None if it has none there.
        ignore: patterns of names that are left out.
        rules: pattern, replacement, and the parts that a parameter is put together of, if it is.
    """

    within: tuple[str, ...]
    arguments: Mapping[str, Any]
    reference: str | None
    ignore: tuple[re.Pattern[str], ...]
    rules: tuple[tuple[re.Pattern[str], str, tuple[str, ...]], ...]

    def plan(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The names of others that each of our parameters is made of, in order; no name may lead to another's place.

        Raises:
            CheckpointError: two names lead to the same place, or a part is missing.
        """
        found: dict[str, dict[int, str]] = {}
        wanted: dict[str, tuple[str, ...]] = {}
        faults = []
        for name in names:
            if any(pattern.search(name) for pattern in self.ignore):
                continue
            ours, index = name, 0
            for pattern, to, parts in self.rules:
                match = pattern.search(ours)
                if match is None:
                    continue
                changed = pattern.sub(to, ours)
                if parts and match["part"] in parts:
                    index, wanted[changed] = parts.index(match["part"]), parts
                ours = changed
            other = found.setdefault(ours, {}).setdefault(index, name)
            if other != name:
                faults.append(f"{other} and {name} are both {ours}")
        for ours, parts in wanted.items():
            faults += [f"of {ours} the part {part} is missing" for i, part in enumerate(parts) if i not in found[ours]]
        if faults:
            raise CheckpointError("; ".join(faults))
        return {ours: [places[i] for i in sorted(places)] for ours, places in found.items()}


def read_map(folder: Path) -> NameMap:
    """The name map of the model in ``folder``.

    Raises:
        InvalidDocumentError: it does not fit its schema.
        HubpkgError: there is none, or a pattern is no regular expression.
    """
    if not (folder / FILE).is_file():
        raise HubpkgError(f"{folder}: expected the file {FILE}, which says how others' names lead to ours, found none")
    data = documents.read(folder / FILE, "weights").data
    return NameMap(
        tuple(data.get("within", ())),
        data.get("arguments", {}),
        data.get("reference"),
        tuple(_pattern(folder, text) for text in data.get("ignore", ())),
        tuple((_rule(folder, rule)) for rule in data["rename"]),
    )


def _rule(folder: Path, rule: Mapping[str, Any]) -> tuple[re.Pattern[str], str, tuple[str, ...]]:
    pattern, parts = _pattern(folder, rule["pattern"]), tuple(rule.get("parts", ()))
    if bool(parts) is not ("part" in pattern.groupindex):
        raise HubpkgError(f"{folder / FILE}: expected parts, and a group 'part' in the pattern, found one of them")
    try:
        re.compile(rule["pattern"]).sub(rule["to"], "")
    except (re.error, IndexError) as error:
        raise HubpkgError(f"{folder / FILE}: expected a replacement for the pattern, found {error}") from None
    return pattern, rule["to"], parts


def _pattern(folder: Path, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise HubpkgError(f"{folder / FILE}: expected a regular expression, found {text!r}: {error}") from None


def convert(
    spec: ModelSpec, file: Path, out: Path, device: str | None, report: Callable[[str], None]
) -> dict[str, Any]:
    """Make the checkpoint ``out`` of the weights in ``file``; give what there is to say of it.

    Where torch and timm are installed the logits of both networks are compared first, and nothing is written if they
    differ.

    Args:
        spec: the model and the dataset, which decides classes and channels.
        file: others' weights.
        out: where the checkpoint is put, ``*.ckpt``.
        device: as :class:`hubpkg.job.Job` has it.
        report: told, in one line each, what is done.

    Raises:
        CheckpointError: with every parameter that is missing, not known, or of another shape, by its name; or the
            logits differ.
        HubpkgError: the map or the file can't be used, or ``out`` is another file.
    """
    from hubpkg.runtime import engines, foreign, framework

    if out.suffix != ".ckpt":
        raise HubpkgError(f"--out: expected a checkpoint's name *.ckpt, found {out}")
    if os.path.lexists(out) and not out.is_file():
        raise HubpkgError(f"--out: expected no file, or a checkpoint, found something else at {out}; move it away")
    check_writable(out.parent)
    names = read_map(spec.folder)
    weights = foreign.read(file, names.within)
    try:
        plan = names.plan(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    arrays = foreign.joined(weights, plan)
    framework.start(spec.recipe["jit_level"], device)
    network = _network(spec, names.arguments)
    faults = foreign.faults(arrays, plan, network)
    if faults:
        raise CheckpointError(
            f"{file}: expected the network's parameters for {spec.dataset}, found {len(faults)} not as there: "
            f"{'; '.join(faults)}; is another --dataset meant?"
        )
    checkpoint.put(network, foreign.parameters(arrays), file)
    network.set_train(False)
    recipe, compared = spec.recipe, None
    if names.reference is not None and "in_channels" in recipe:
        batch = engines.drawn(recipe, _IMAGES)
        found = engines.run_network(network, batch)
        expected = foreign.reference_logits(names.reference, weights, found.shape[1], batch)
        if expected is not None:
            compared = _compare(found, expected, names.reference)
    report(
        f"logits: as timm's {names.reference} gives them on {_IMAGES} images, within {compared['largest']:g}"
        if compared
        else "logits: not compared with PyTorch's; that needs torch, timm, and a reference in weights.yaml"
    )
    with replacement.of(out) as partial:
        try:
            checkpoint.save(network, partial)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(partial), str(out))) from None
        sha256 = manifest.record(partial).sha256
        if out.exists() and manifest.record(out).sha256 != sha256:
            raise HubpkgError(
                f"{out}: expected no file, or this checkpoint, found another; move it away, or name another with --out"
            )
    return {
        "checkpoint": str(out),
        "sha256": sha256,
        "parameters": len(arrays),
        "arguments": dict(names.arguments),
        "compared": compared,
    }


def _network(spec: ModelSpec, arguments: Mapping[str, Any]) -> Any:
    sources = {name: path.read_bytes() for name, path in spec.entry_files.items()}
    given = {key: value for key, value in spec.network_defaults.items() if key != "image_size"}
    try:
        with interrupts.deferred(), entrypoint.loaded(spec.folder, sources) as create_network:
            return create_network(spec.name, **given, **arguments)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise HubpkgError(f"{spec.folder / FILE}: arguments: expected ones of create_network, found {told}") from error


def _compare(found: Any, expected: Any, name: str) -> dict[str, Any]:
    """How far the logits lie apart.

    Raises:
        CheckpointError: further than another engine's may.
    """
    largest = float(abs(found - expected).max())
    if not largest <= evaluation.ENGINE_TOLERANCE or (found.argmax(1) != expected.argmax(1)).any():
        raise CheckpointError(
            f"expected the logits of timm's {name} within {evaluation.ENGINE_TOLERANCE:g} and the same top-1 on "
            f"{len(found)} images, found a difference of {largest:.2g}; nothing was written"
        )
    return {"reference": f"timm {name}", "images": len(found), "largest": largest}
