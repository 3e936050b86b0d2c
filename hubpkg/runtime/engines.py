"""What runs a network on images: MindSpore, or ONNX Runtime on an export of it."""

import importlib
import importlib.util
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import interrupts, stages
from hubpkg import recipe as recipes
from hubpkg.errors import EngineError
from hubpkg.evaluation import ENGINE_TOLERANCE, share_moved
from hubpkg.runtime import datasets, framework, workers

MINDSPORE, ONNX_RUNTIME = "mindspore", "onnxruntime"
# Images at once, unless another number is asked for: on a CPU few are as fast as many, whose values leave its cache.
BATCH_SIZES = {MINDSPORE: 16, ONNX_RUNTIME: 2}
_COMPARED = 64  # images, on which ONNX Runtime must agree with MindSpore
_FILE = "network.onnx"


def choose(name: str | None, device: str | None) -> str:
    """The engine ``name``; if None, ONNX Runtime where it is installed and the device is the CPU, else MindSpore.

    Raises:
        EngineError: ONNX Runtime was asked for, and is not installed or the device is another.
    """
    installed = version(ONNX_RUNTIME) is not None and importlib.util.find_spec("onnx") is not None
    if name == MINDSPORE or (name is None and not installed):
        return MINDSPORE
    if not installed:
        raise EngineError(f"--engine {name}: expected onnxruntime, found none; install 'hubpkg[onnxruntime]'")
    device = device or framework.load().get_context("device_target")
    if device == "CPU":
        return ONNX_RUNTIME
    if name is None:
        return MINDSPORE
    raise EngineError(f"--engine {name}: expected the device CPU, found {device}; use --engine {MINDSPORE}")


def version(name: str) -> str | None:
    """The version of the engine ``name``; None if it is ONNX Runtime and not installed."""
    if name == MINDSPORE:
        return framework.version()
    if importlib.util.find_spec(name) is None:
        return None
    with interrupts.deferred():
        return str(importlib.import_module(name).__version__)  # whatever the distribution is called


@dataclass(frozen=True)
class Task:
    """A network to run on the images of a split.

    Attributes:
        network: makes it, with its weights, in inference mode.
        identity: everything that the network depends on, as JSON values.
        split: the images.
        recipe: the recipe, for size and normalisation.
        batch_size: images at once; None for the engine's own.
        report: told, in one line each, what is done.
    """

    network: Callable[[], Any]
    identity: Mapping[str, Any]
    split: datasets.Split
    recipe: Mapping[str, Any]
    batch_size: int | None
    report: Callable[[str], None]


def blank(recipe: Mapping[str, Any], count: int) -> NDArray[Any]:
    """A batch of ``count`` inputs of zeros."""
    return np.zeros((count, *recipes.input_shape(recipe)), recipes.input_dtype(recipe))


def drawn(recipe: Mapping[str, Any], count: int, seed: int = 0) -> NDArray[Any]:
    """A batch of ``count`` random inputs, the same ones for a seed: normal numbers, or ids below ``vocab_size``."""
    generator, shape = np.random.default_rng(seed), (count, *recipes.input_shape(recipe))
    if "vocab_size" in recipe:
        return generator.integers(0, recipe["vocab_size"], shape, np.int32)
    return generator.standard_normal(shape).astype(np.float32)


def compare(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    recipe: Mapping[str, Any],
    tolerance: float,
    *,
    ranks: bool = True,
) -> float:
    """How far ``found``, of shape (B, outputs), lies from what MindSpore gives for the same inputs, ``expected``.

    With ``ranks``, logits have to have the same top-1, too. Of a regression's outputs the tolerance is a share where
    they are above 1.

    Raises:
        EngineError: by more than ``tolerance``, or in another way.
    """
    regression = recipes.is_regression(recipe)
    if found.shape != expected.shape:
        raise EngineError(f"expected MindSpore's outputs of shape {expected.shape}, found {found.shape}")
    if not np.isfinite(found).all():
        raise EngineError("expected MindSpore's outputs, found some that are not finite")
    if regression:
        difference = share_moved(expected.ravel().tolist(), found.ravel().tolist())
    else:
        difference = float(np.abs(expected - found).max())
    ranks = ranks and not regression
    reranked = ranks and bool((expected.argmax(1) != found.argmax(1)).any())
    if reranked or not difference <= tolerance:
        raise EngineError(
            f"expected MindSpore's {'outputs' if regression else 'logits'} within {tolerance:.2g}"
            f"{' and the same top-1' if ranks else ''}, found a difference of {difference:.2g}"
            f"{' and another top-1' if reranked else ''}"
        )
    return difference


def run_network(network: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """The logits, of shape (B, classes), that the MindSpore cell ``network`` gives for ``images``, in float32."""
    mindspore = framework.load()
    with interrupts.deferred():
        logits = network(mindspore.Tensor(images))
        if logits.dtype != mindspore.float32:
            logits = mindspore.ops.cast(logits, mindspore.float32)
        found: NDArray[np.float32] = logits.asnumpy()
    return found


class MindSpore:
    """The network itself."""

    def __init__(self, task: Task) -> None:
        """Take the network of ``task``."""
        self.batch_size = task.batch_size or BATCH_SIZES[MINDSPORE]
        self._task = task

    @cached_property
    def _network(self) -> Any:
        return self._task.network().set_train(False)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"name": MINDSPORE, "version": version(MINDSPORE)}

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits, of shape (B, classes), of ``images``, of shape (B, channels, size, size) with B the batch size."""
        return run_network(self._network, images)

    def each(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """The logits of each of ``batches``, in their order."""
        return map(self, batches)


class OnnxRuntime:
    """ONNX Runtime on an export of the network, which was compared with MindSpore."""

    def __init__(self, task: Task) -> None:
        """Export the network of ``task`` and compare the two, unless the cache has that from an earlier run.

        Raises:
            EngineError: the network can't be exported, or the two do not agree.
        """
        self.batch_size = task.batch_size or BATCH_SIZES[ONNX_RUNTIME]
        inputs = {
            "network": task.identity,
            "data": task.split.sha256,
            "batch_size": self.batch_size,
            "versions": [version(MINDSPORE), version(ONNX_RUNTIME), metadata.version("onnx")],
        }
        folder = stages.run("export", inputs, lambda folder: self._export(task, folder), task.report)
        self._file = folder / _FILE
        self._compared = json.loads((folder / "compared.json").read_text(encoding="utf-8"))

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"name": ONNX_RUNTIME, "version": version(ONNX_RUNTIME), "compared": self._compared}

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits, of shape (B, classes), of ``images``, of shape (B, channels, size, size) with B the batch size."""
        return _run(self._session, images)

    def each(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """The logits of each of ``batches``, in their order: many at a time, each in a thread that waits for no other.

        That takes less time than all threads at one batch: after each operator they would wait for the last of them,
        whose core is decoding images.
        """
        running: deque[Future[NDArray[np.float32]]] = deque()
        with ThreadPoolExecutor(workers.threads()) as threads:
            for batch in batches:
                running.append(threads.submit(_run, self._session_of_one, batch))
                if len(running) > workers.threads():
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    @cached_property
    def _session(self) -> Any:
        return _session(self._file, workers.threads())

    @cached_property
    def _session_of_one(self) -> Any:
        return _session(self._file, 1)

    def _export(self, task: Task, folder: Path) -> None:
        with interrupts.deferred():
            import onnx

            from hubpkg.runtime import onnx_graph

        network = MindSpore(replace(task, batch_size=self.batch_size))
        recipe = task.recipe
        inputs = blank(recipe, self.batch_size)
        framework.export_onnx(network._network, inputs, folder / _FILE)  # noqa: SLF001 - the one beside it
        try:
            with interrupts.deferred():
                onnx.save(onnx_graph.optimized(onnx.load(folder / _FILE)), folder / _FILE)
            session = _session(folder / _FILE, workers.threads())
            _run(session, inputs)
        except Exception as error:  # noqa: BLE001 - those of ONNX Runtime have no other base
            message = str(error).strip().partition("\n")[0]
            raise EngineError(
                f"onnxruntime: expected to run the network as MindSpore exports it, found: {message}"
            ) from None
        count = len(task.split.images)
        chosen = np.unique(np.linspace(0, count - 1, min(_COMPARED, count)).astype(int)).tolist()
        images, largest = task.split.images.chosen(chosen, None), 0.0
        for start, batch in enumerate(padded(images, recipe, self.batch_size)):
            real = slice(len(images) - start * self.batch_size)  # what fills up the last batch is not compared
            expected, found = network(batch)[real], _run(session, batch)[real]
            try:
                largest = max(largest, compare(expected, found, recipe, ENGINE_TOLERANCE))
            except EngineError as error:
                raise EngineError(f"onnxruntime: {error}; use --engine {MINDSPORE}") from None
        compared = {"images": len(images), "largest": rounded_up(largest)}
        (folder / "compared.json").write_text(json.dumps(compared), encoding="utf-8")


def rounded_up(value: float) -> float:
    """``value`` with two digits, no less than it."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1) if value else 1.0
    return float(f"{math.ceil(value / unit) * unit:.1e}")


Engine = MindSpore | OnnxRuntime


def prepare(name: str | None, task: Task, device: str | None) -> Engine:
    """The engine that :func:`choose` gives, ready to run; MindSpore where ONNX Runtime was not asked for and fails.

    Raises:
        EngineError: it was asked for.
    """
    if choose(name, device) == MINDSPORE:
        return MindSpore(task)
    try:
        return OnnxRuntime(task)
    except EngineError as error:
        if name is not None:
            raise
        task.report(f"engine: {MINDSPORE}, as {ONNX_RUNTIME} was refused: {error}")
        return MindSpore(task)


def padded(images: datasets.Images, recipe: Mapping[str, Any], size: int) -> Iterator[NDArray[Any]]:
    """The images in their order, in batches of ``size``; the last one is filled up, so that one graph serves all."""
    for batch, _ in datasets.batches(images, recipe, size):
        yield np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)])


def _session(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores decode images meanwhile
    with interrupts.deferred():
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run(session: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    with interrupts.deferred():
        logits: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
    return logits
