"""A model folder: ``models/<name>/model.yaml`` and its recipes -> ModelSpec."""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubpkg import documents, entrypoint, manifest
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.resources import shipped

ANONYMOUS = "anonymous"  # the user-id of whoever has not told one, and so is not known again
_NOT_ON_CARD = frozenset({"model-name", "default-dataset", "datasets", "checkpoint", "extension", "thumbnails"})


@dataclass(frozen=True)
class ModelSpec:
    """What a model folder states, for one of its datasets.

    Attributes:
        folder: the model folder.
        dataset: name of the dataset.
        fields: model.yaml's keys, the dataset's own values in place of the model's.
        recipe: how to train and evaluate on the dataset, by the keys of ``schemas/recipe.schema.json``.
        settings: values that were given in place of the recipe's, as text by key.
        notes: what there is to say of the recipe, where it is not as the model has it.
    """

    folder: Path
    dataset: str
    fields: Mapping[str, Any]
    recipe: Mapping[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return str(self.fields["model-name"])

    @property
    def package_name(self) -> str:
        """Name of the package: ``<model>_<dataset>``."""
        return f"{self.name}_{self.dataset}"

    @property
    def uid(self) -> str:
        """The hub's identity of the card: ``<publisher>/<version>/<model>_<dataset>``."""
        return f"{self.fields['publisher']}/{self.fields['model-version']}/{self.package_name}"

    @property
    def entry_name(self) -> str:
        """Name of the package's entry folder: the last part of repo-link."""
        return str(self.fields["repo-link"]).strip("<>").rsplit("/", 1)[-1]

    @property
    def card_fields(self) -> dict[str, Any]:
        """The authored fields that the card shows or is made from."""
        return {key: value for key, value in self.fields.items() if key not in _NOT_ON_CARD}

    @property
    def entry_files(self) -> dict[str, Path]:
        """The model folder's files, which the package's entry folder repeats, by their names in it."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = {file.relative_to(self.folder): file for file in files}
        return {name.as_posix(): file for name, file in names.items() if not any(map(_is_litter, name.parts))}

    @property
    def code_files(self) -> dict[str, Path]:
        """Those of :attr:`entry_files` that decide what the network computes."""
        prose = {"model.yaml", self.figure}
        files = self.entry_files.items()
        return {name: file for name, file in files if name not in prose and not name.startswith("recipes/")}

    @property
    def network_defaults(self) -> dict[str, Any]:
        """What ``create_network`` makes in this package when it is called with the model's name alone."""
        size = {"image_size": self.recipe["image_size"]} if recipes.of_images(self.recipe) else {}
        return {**self.network_arguments, **size}

    @property
    def network_arguments(self) -> dict[str, Any]:
        """The arguments of ``create_network`` that the recipe decides: what an input is like, and how many outputs."""
        keys = ("in_channels", "input_shape", "vocab_size", "num_classes", "num_outputs")
        return {key: self.recipe[key] for key in keys if key in self.recipe}

    @property
    def figure(self) -> str | None:
        """The file of the card's figure, if it has one."""
        return self.fields["figure"]["file"] if "figure" in self.fields else None

    @property
    def extension(self) -> str | None:
        """The file with the model's own datasets and metrics, if it has one."""
        return self.fields.get("extension")


def _is_litter(part: str) -> bool:
    """Whether a file or folder of that name is a tool's, and no part of the model."""
    return part.startswith(".") or part == "__pycache__" or part.endswith((".pyc", ".pyo", "~"))


def find_model(name: str) -> Path:
    """The folder of the model ``name``: in ``./models``, then ``HUBPKG_MODELS``, then those shipped with hubpkg.

    Raises:
        HubpkgError: there is none; names the nearest.
    """
    known: set[str] = set()
    for parent in _model_folders():
        here = {path.parent.name for path in parent.glob("*/model.yaml")}
        if name in here:  # and so no path, such as ../name
            return parent / name
        known |= here
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5) or sorted(known)
    hint = f"the nearest: {', '.join(near)}" if near else "there are none"
    searched = ", ".join(str(parent) for parent in _model_folders())
    raise HubpkgError(f"unknown model {name!r}: expected a folder with a model.yaml in {searched}; {hint}")


def _model_folders() -> Iterator[Path]:
    yield Path("models")
    if os.environ.get("HUBPKG_MODELS"):
        yield Path(os.environ["HUBPKG_MODELS"])
    yield shipped("models")


def read_spec(
    name: str,
    dataset: str | None = None,
    overrides: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    devices: int | None = None,
) -> ModelSpec:
    """Read the model ``name`` for ``dataset`` (default: model.yaml's).

    Args:
        name: the model's name, looked up by :func:`find_model`.
        dataset: one of the datasets that model.yaml names.
        overrides: values that take the place of model.yaml's publication keys, by the options ``--KEY``.
        settings: values that take the place of the recipe's, by ``--set KEY=VALUE``.
        devices: how many devices it is trained on, by which the recipe is resolved; None where it is not trained.

    Raises:
        InvalidDocumentError: model.yaml does not fit its schema, with every fault; or else something it names, the
            recipe or an override has faults, with all of these.
        HubpkgError: there is no such model, or model.yaml can't be read.
    """
    folder = find_model(name)
    faults: list[str] = []
    document = documents.read(folder / "model.yaml", "model")
    fields = document.data
    if fields["model-name"] != name:
        faults.append(
            f"{document.place(('model-name',))}: model-name: expected {name!r}, the folder's name, "
            f"found {fields['model-name']!r}"
        )
    if fields["default-dataset"] not in fields["datasets"]:
        faults.append(
            f"{document.place(('default-dataset',))}: default-dataset: expected one of "
            f"{', '.join(fields['datasets'])}, found {fields['default-dataset']!r}"
        )
    faults += [
        f"{folder}: expected the file {needed}, found none"
        for needed in (entrypoint.FILE, fields.get("figure", {}).get("file"), fields.get("extension"))
        if needed and not (folder / needed).is_file()
    ]
    given, dataset = dataset, fields["default-dataset"] if dataset is None else dataset
    recipe: dict[str, Any] = {}
    notes: list[str] = []
    if dataset in fields["datasets"]:
        try:
            stated, recipe = recipes.read(folder / "recipes" / f"{dataset}.yaml", name, dataset, settings or {})
            if devices is not None:
                recipe, notes = recipes.resolved(stated, recipe, settings or {}, devices)
        except HubpkgError as error:
            faults += str(error).splitlines()
        if "reported" in fields["datasets"][dataset] and recipes.is_regression(recipe):
            faults.append(
                f"{document.place(('datasets', dataset, 'reported'))}: datasets.{dataset}.reported: expected "
                "accuracies of a classification, found them for a regression"
            )
    elif given is not None:
        faults.append(f"--dataset: expected one of {', '.join(fields['datasets'])}, found {dataset!r}")
    fields = {**fields, **fields["datasets"].get(dataset, {}), **(overrides or {})}
    faults += [f"--{fault}" for path, fault in documents.faults_of(fields, "model") if path[0] in (overrides or {})]
    if faults:
        raise InvalidDocumentError(faults)
    spec = ModelSpec(folder, dataset, fields, recipe, settings or {}, tuple(notes))
    if spec.entry_name in ("evidence", manifest.NAME, f"{spec.package_name}.md"):
        raise HubpkgError(
            f"repo-link: expected a last part that names the entrypoint's folder, found {spec.entry_name!r}, "
            "which a package has for something else"
        )
    return spec
