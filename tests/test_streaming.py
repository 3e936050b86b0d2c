"""The stream of training batches: which images, in which order, and that they depend on nothing but seed and step."""

import gc
import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mindspore import dataset
from PIL import Image

from hubpkg.errors import HubpkgError
from hubpkg.runtime import datasets
from hubpkg.spec import read_spec

TASKS = Path("/proc/self/task")
IMAGES = datasets.find("digits").read("train", None)
PLAIN = {
    key: value
    for key, value in read_spec("xcit_tiny_12_p16_224", "digits").recipe.items()
    if key not in {"random_affine", "crop_pct"}
} | {"crop_pct": 1.0}
AFFINE = {"random_affine": {"degrees": 10, "translate": 0.08, "scale": 0.1}}
CROPS = {"crop_scale": [0.08, 1.0], "hflip": 0.5, "random_erasing": 0.25}
POLICY, JITTER = {"auto_augment": "randaug-m9-mstd0.5-inc1"}, {"color_jitter": 0.4}
MIXED = {"mixup": 0.8, "cutmix": 1.0}
FULL = PLAIN | CROPS | POLICY | MIXED


def numbered(count, side=4):
    """Images of one colour each, by which they are known in a batch that is normalised by 0 and 1/255."""
    return replace(
        IMAGES,
        names=[f"{index}" for index in range(count)],
        labels=[index % 10 for index in range(count)],
        read=lambda index: np.full((side, side, 1), index, np.uint8),
        place=lambda index: f"{index}",
    )


PHOTO = np.random.default_rng(3).integers(0, 256, (40, 40, 1), np.uint8)
NUMBERED = PLAIN | {"image_size": 4, "mean": [0.0], "std": [1 / 255], "batch_size": 8, "epochs": 3}


def take(images, recipe, count=None, **where):
    """The stream's first batches, from step 0 on unless said otherwise."""
    data = datasets.stream(images, recipe, **{"start": 0, **where})
    found = itertools.islice(data.create_tuple_iterator(num_epochs=1, output_numpy=True), count)
    return [(image.copy(), target.copy()) for image, target in found]


def shown(images, recipe, **where):
    """The numbers of the images in each batch."""
    return [batch[:, 0, 0, 0].round().astype(int).tolist() for batch, _ in take(images, recipe, **where)]


def joined(batches):
    return list(itertools.chain.from_iterable(batches))


def same(first, second):
    assert len(first) == len(second) > 0
    for ours, theirs in zip(first, second, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own():
    batches = shown(numbered(48), NUMBERED)
    assert [len(batch) for batch in batches] == [8] * 18
    epochs = [joined(batches[start : start + 6]) for start in (0, 6, 12)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(48))
    assert len({tuple(epoch) for epoch in [*epochs, range(48)]}) == 4
    assert shown(numbered(48), NUMBERED | {"seed": 43}) != batches


def test_each_image_keeps_its_label():
    for batch, labels in take(numbered(48), NUMBERED):
        assert labels.dtype == np.int32
        assert (batch[:, 0, 0, 0].round() % 10 == labels).all()


@pytest.mark.parametrize("drop", [True, False])
def test_an_incomplete_last_batch_is_dropped_or_kept_as_the_recipe_says(drop):
    recipe = NUMBERED | {"drop_remainder": drop, "epochs": 2}
    sizes = [len(batch) for batch in shown(numbered(45), recipe)]
    assert sizes == ([8] * 10 if drop else ([8] * 5 + [5]) * 2)
    assert datasets.steps_per_epoch(45, recipe, 1) == len(sizes) / 2
    assert datasets.stream(numbered(45), recipe, start=3).get_dataset_size() == len(sizes) - 3


@pytest.mark.parametrize("recipe", [PLAIN | AFFINE, FULL, PLAIN | CROPS | JITTER], ids=["affine", "full", "jitter"])
@pytest.mark.parametrize("start", [1, 22, 31, 43])
def test_a_stream_begun_at_a_step_gives_what_the_whole_one_gives_from_there_on(recipe, start):
    recipe = recipe | {"epochs": 2}
    same(take(IMAGES, recipe, start=start), take(IMAGES, recipe)[start:])


def test_each_image_is_changed_anew_in_each_epoch_and_each_batch_is_mixed_anew():
    same_images = replace(numbered(16), read=lambda _: PHOTO)
    recipe = PLAIN | {"batch_size": 8, "epochs": 4}
    changed = [image.tobytes() for batch, _ in take(same_images, recipe | CROPS | POLICY) for image in batch]
    assert len(set(changed)) == len(changed) == 64
    shares = {float(targets.max(1).min()) for _, targets in take(same_images, recipe | {"mixup": 0.8})}
    assert len(shares) == 8


@pytest.fixture
def workers():
    """Sets the number of MindSpore's threads; it is as before when the test is over."""
    before = dataset.config.get_num_parallel_workers()
    yield dataset.config.set_num_parallel_workers
    dataset.config.set_num_parallel_workers(before)


def test_the_number_of_workers_changes_no_byte(workers):
    found = []
    for count in range(1, (os.cpu_count() or 1) + 1):
        workers(count)
        found.append(take(IMAGES, FULL, 12))
    for other in found[1:]:
        same(found[0], other)


@pytest.mark.compat
def test_mindspores_own_seeds_change_no_byte():
    before = take(IMAGES, FULL, 4)
    dataset.config.set_seed(99)
    same(before, take(IMAGES, FULL, 4))


@pytest.mark.parametrize("recipe", [PLAIN | AFFINE, FULL], ids=["affine", "full"])
@pytest.mark.parametrize("size", [2, 4])
def test_processes_see_together_the_batches_of_one_process(recipe, size):
    whole = take(IMAGES, recipe, start=20, count=4)
    part = recipe | {"batch_size": recipe["batch_size"] // size}
    parts = [take(IMAGES, part, start=20, count=4, rank=rank, size=size) for rank in range(size)]
    for step, (images, targets) in enumerate(whole):
        for rank, batches in enumerate(parts):
            np.testing.assert_array_equal(batches[step][0], images[rank::size])
            np.testing.assert_array_equal(batches[step][1], targets[rank::size])


def test_a_last_batch_that_processes_can_not_share_is_refused():
    recipe = NUMBERED | {"drop_remainder": False}
    assert datasets.steps_per_epoch(44, recipe, 2) == 3
    assert [len(batch) for batch in shown(numbered(44), recipe, size=2)] == [8, 8, 6] * 3
    with pytest.raises(HubpkgError, match=r"^drop_remainder: expected true, or 45 .* 2 processes can share, found 13"):
        datasets.stream(numbered(45), recipe, start=0, size=2)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(HubpkgError, match="batch_size: expected at most the 15 training images of digits, shared by 2"):
        datasets.stream(numbered(15), NUMBERED, start=0, size=2)
    assert datasets.steps_per_epoch(16, NUMBERED, 2) == 1


def test_a_long_stream_begins_at_once_anywhere():
    recipe = NUMBERED | {"epochs": 10**7}
    data = datasets.stream(numbered(48), recipe, start=6 * 10**7 - 12)
    assert data.get_dataset_size() == 12
    assert datasets.stream(numbered(48), recipe, start=1).get_dataset_size() == 6 * 10**7 - 1
    epochs = shown(numbered(48), recipe, start=6 * 10**7 - 12)
    assert sorted(joined(epochs[:6])) == sorted(joined(epochs[6:])) == list(range(48))


@pytest.mark.compat
def test_the_shapes_are_known_and_constant():
    data = datasets.stream(IMAGES, FULL, start=5)
    assert data.get_col_names() == ["image", "target"]
    assert data.output_shapes() == [[64, 1, 32, 32], [64, 10]]
    assert data.output_types() == [np.float32, np.float32]
    assert data.get_dataset_size() == 4 * 22 - 5


@pytest.mark.parametrize("taken", [3, None])
@pytest.mark.skipif(not TASKS.is_dir(), reason="only Linux lists a process's threads")
def test_the_threads_end_with_the_iterator(taken):
    take(IMAGES, FULL, 1)  # which begins some that stay
    gc.collect()
    before = {*TASKS.iterdir()}
    batches = iter(datasets.stream(IMAGES, FULL, start=0).create_tuple_iterator(num_epochs=1, output_numpy=True))
    next(batches)
    begun = {*TASKS.iterdir()} - before
    assert len(begun) >= 2
    for _ in itertools.islice(batches, taken):
        pass
    del batches
    gc.collect()
    deadline = time.monotonic() + 120
    while {*TASKS.iterdir()} & begun and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not {*TASKS.iterdir()} & begun


def unreadable(_):
    raise HubpkgError("40: expected the image as it was when the run began, found: other bytes; run it again")


def missing(_):
    raise LookupError("no more")


INTERRUPTED = """
import time
from test_streaming import FULL, IMAGES, datasets
for step, _ in enumerate(datasets.stream(IMAGES, FULL | {"epochs": 1000}, start=0).create_tuple_iterator(num_epochs=1)):
    if step == 3:
        print("begun", flush=True)
    time.sleep(0.02)
"""


def test_an_interrupt_ends_it_at_once():
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parent, **pipes) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert told.rstrip().endswith("KeyboardInterrupt")
    assert told.count("Traceback") == 1


@pytest.mark.compat
@pytest.mark.parametrize(
    ("read", "message"),
    [
        (unreadable, "40: expected the image as it was when the run began, found: other bytes; run it again"),
        (
            lambda _: np.zeros((0, 4, 1), np.uint8),
            r"40: expected an image that can be decoded and changed as the recipe says, found: \[ERROR\] .*no data.*",
        ),
        (missing, "expected images that MindSpore can decode and resize, found: LookupError: no more"),
        (
            lambda _: np.empty(1 << 60, np.uint8),
            "expected memory enough for images and their batches, found too little; try a smaller batch_size, .*",
        ),
    ],
)
def test_an_image_that_can_not_be_read_or_changed_is_named_in_one_line(read, message):
    images = numbered(48)
    broken = replace(images, read=lambda index: (read if index == 40 else images.read)(index))
    with pytest.raises(HubpkgError, match=rf"\A{message}\Z"), datasets.explained():
        take(broken, NUMBERED)


def test_a_file_that_changed_while_training_is_named(tmp_path):
    file = tmp_path / "image.png"
    file.write_bytes(file_of("L", "PNG"))
    images = replace(encoded(b""), read=lambda _: np.fromfile(file, np.uint8), place=lambda _: str(file))
    images = images.chosen([0], [hashlib.sha256(file.read_bytes()).hexdigest()])
    # Many more images than MindSpore's threads read ahead, however late this thread comes to change the file.
    recipe = PLAIN | {"in_channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "batch_size": 1, "epochs": 10**6}
    batches = datasets.stream(images, recipe, start=0).create_tuple_iterator(num_epochs=1)
    next(batches)
    file.write_bytes(file_of("RGB", "PNG"))
    with (
        pytest.raises(HubpkgError, match=r"image.png: expected the image as it was when .*other bytes; run it again$"),
        datasets.explained(),
    ):
        for _ in itertools.islice(batches, 10_000):
            pass


def encoded(*files):
    return replace(
        IMAGES,
        names=[f"{index}" for index in range(len(files))],
        labels=[0] * len(files),
        read=lambda index: np.frombuffer(files[index], np.uint8),
        encoded=True,
        place=lambda index: f"{index}",
    )


def file_of(mode, kind="JPEG", size=(60, 40)):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize(size).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.mark.compat
def test_images_of_all_kinds_are_augmented():
    files = [file_of(mode) for mode in ("RGB", "L", "CMYK")] + [file_of(mode, "PNG") for mode in ("RGB", "P", "RGBA")]
    recipe = FULL | {"in_channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "batch_size": 6}
    ((images, targets),) = take(encoded(*files), recipe, 1)
    assert images.shape == (6, 3, 32, 32)
    assert np.isfinite(images).all()
    assert (images.std((1, 2, 3)) > 0.01).all()
    assert targets.shape == (6, 10)
