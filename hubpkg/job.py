"""What every stage of a build depends on: one model on one dataset and one machine."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hubpkg import (
    checkpoint,
    entrypoint,
    evaluation,
    interrupts,
    manifest,
    performance,
    predictions,
    randaugment,
    recipe,
    spec,
    trained,
)
from hubpkg.errors import HubpkgError
from hubpkg.spec import ModelSpec


@dataclass(frozen=True)
class Job:
    """One model on one dataset and one machine: what every stage of a build depends on.

    Attributes:
        spec: the model and the dataset.
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        report: told, in one line each, what is done.
        skip_damaged: whether to leave out images that are damaged or missing.
        engine: what evaluates, ``mindspore`` or ``onnxruntime``; None for the faster one that can be trusted.
        batch_size: images that are evaluated at once; None for the engine's own.
        workers: processes that share training and evaluation.
        msrun: more options for msrun, which starts them.
    """

    spec: ModelSpec
    data_dir: Path | None
    device: str | None
    report: Callable[[str], None]
    skip_damaged: bool = False
    engine: str | None = None
    batch_size: int | None = None
    workers: int = 1
    msrun: str = ""

    @cached_property
    def base(self) -> Mapping[str, Any]:
        """What the results of every stage depend on, the data aside."""
        from hubpkg.runtime import environment

        return {
            "environment": environment.capture(),
            "device": self.device,
            "code": code_digest(),
            "model": manifest.digest({n: manifest.record(file).sha256 for n, file in self.spec.code_files.items()}),
            "recipe": dict(self.spec.recipe),
        }

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """What the results of the stages that read the test images depend on."""
        return {**self.base, "data": {"test": self.test.as_json()}}

    def worker_arguments(self, out: Path) -> list[str]:
        """What tells a worker's command of the same job; it leaves its results in the folder ``out``."""
        options = {"--dataset": self.spec.dataset, "--out": out, "--data-dir": self.data_dir, "--device": self.device}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        given += ["--skip-damaged"] if self.skip_damaged else []
        return [self.spec.name, *given, *(f"--set={key}={value}" for key, value in self.spec.settings.items())]

    @cached_property
    def extension(self) -> Any:
        """The model's own datasets and metrics."""
        from hubpkg.runtime import extensions

        found = extensions.NONE
        if self.spec.extension is not None:
            found = extensions.load(self.spec.folder, self._sources, self.spec.extension)
        if recipe.is_regression(self.spec.recipe) and not found.metrics:
            raise HubpkgError(
                f"{self.spec.folder / 'model.yaml'}: expected an extension that defines METRICS, as a regression has "
                "no others, found none"
            )
        return found

    @cached_property
    def _sources(self) -> Mapping[str, bytes]:
        return {name: file.read_bytes() for name, file in self.spec.entry_files.items()}

    @cached_property
    def source(self) -> Any:
        """The dataset, as it is described and read."""
        from hubpkg.runtime import datasets

        return datasets.find(self.spec.dataset, self.extension.datasets)

    @cached_property
    def test(self) -> Any:
        """The samples to evaluate on."""
        return self._split("test")

    @cached_property
    def train(self) -> Any:
        """The samples to train on."""
        return self._split("train")

    def _split(self, name: str) -> Any:
        from hubpkg.runtime import datasets

        recipe, source = self.spec.recipe, self.source
        datasets.check_recipe(recipe, source)
        split = datasets.load(recipe, name, self.data_dir, skip_damaged=self.skip_damaged, source=source)
        if split.damaged:
            self.report(
                f"data: {len(split.damaged)} of the {name} images are damaged or missing, and left out: "
                f"{', '.join(split.damaged[:3])}{', ...' if len(split.damaged) > 3 else ''}"  # noqa: PLR2004
            )
        return split

    @cached_property
    def mindspore(self) -> Any:
        """MindSpore, ready to run the recipe."""
        from hubpkg.runtime import framework

        return framework.start(self.spec.recipe["jit_level"], self.device)

    def network(self) -> Any:
        """A new network, made by the model's entrypoint as a consumer's machine would.

        Raises:
            HubpkgError: the model's code fails, or what it makes does not take the recipe's images.
        """
        mindspore, stated = self.mindspore, self.spec.recipe
        shape, dtype = (1, *recipe.input_shape(stated)), getattr(mindspore, recipe.input_dtype(stated))
        inputs = f"{'images' if recipe.of_images(stated) else 'inputs'} of shape {shape}"
        try:
            with interrupts.deferred(), entrypoint.loaded(self.spec.folder, self._sources) as create_network:
                network = create_network(self.spec.name, **self.spec.network_arguments)
            mindspore.set_context(mode=mindspore.PYNATIVE_MODE)  # in graph mode a refusal leaves files behind
            with interrupts.deferred():
                found = network.set_train(False)(mindspore.ops.zeros(shape, dtype)).shape
        except (Exception, SystemExit) as error:  # the model's code may raise anything
            message = str(error).strip().partition("\n")[0]
            raise HubpkgError(
                f"{self.spec.folder}: expected a network for {inputs}, as the recipe for "
                f"{self.spec.dataset} has them, found {type(error).__name__}: {message}"
            ) from error
        finally:
            mindspore.set_context(mode=mindspore.GRAPH_MODE)
        wanted = (1, recipe.outputs(stated))
        if tuple(found) != wanted:
            what = "outputs" if recipe.is_regression(stated) else "logits"
            raise HubpkgError(f"{self.spec.folder}: expected {what} of shape {wanted}, found {tuple(found)}")
        return network


def code_digest() -> str:
    """The digest of hubpkg's own code that measurements depend on."""
    from hubpkg.runtime import environment

    modules = [checkpoint, entrypoint, evaluation, performance, predictions, randaugment, recipe, spec, trained]
    runtime, *files = (Path(str(module.__file__)) for module in (environment, *modules))
    files += [Path(__file__).with_name(name) for name in ("evaluator.py", "job.py", "trainer.py")]
    code = [*runtime.parent.rglob("*.py"), *runtime.parent.rglob("*.txt"), *files]
    root = runtime.parent.parent
    return manifest.digest({str(f.relative_to(root)): manifest.record(f).sha256 for f in code})


def check_writable(out: Path) -> None:
    """Show, before the work begins, that something can be made in the folder ``out``.

    Raises:
        HubpkgError: it can't.
    """
    probe = out / f".hubpkg-{os.getpid()}"
    try:
        probe.mkdir(parents=True)
        probe.rmdir()
    except OSError as error:
        raise HubpkgError(f"{out}: expected a folder that can be written, found: {error.strerror}") from None


def tell_launcher() -> None:
    """Tell the process that launched this one as a worker that its work is done."""
    from hubpkg.runtime import workers

    workers.tell_launcher()
