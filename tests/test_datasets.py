"""The datasets: which images, in which order, with which pixels."""

import gzip
import io
import json
import os
import shutil
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hubpkg import cache
from hubpkg.errors import HubpkgError
from hubpkg.runtime import datasets
from hubpkg.runtime.datasets import imagenet as ilsvrc
from hubpkg.runtime.datasets import mnist, survey
from hubpkg.spec import read_spec

LARGE = "xcit_tiny_12_p16_224"
SYNSETS = list(ilsvrc.classes())


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_digits_is_split_once_and_for_all_by_class():
    train, test = (datasets.find("digits").read(split, None) for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert sorted([*train.names, *test.names]) == [f"{index:04d}" for index in range(1797)]
    counts = Counter(test.labels)
    for label, count in Counter([*train.labels, *test.labels]).items():
        assert abs(counts[label] - count / 5) < 1
    assert test.names[:3] == ["0021", "0024", "0028"]


def test_a_dataset_that_is_not_known_is_refused():
    with pytest.raises(HubpkgError, match=r"digits, imagenet2012.*'cifar'"):
        datasets.find("cifar")


def jpeg(seed, mode="RGB", size=(48, 40), **options):
    """A JPEG of blocks of random colours, in Pillow's ``mode``, of (width, height) ``size``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


# Three images of two classes, by their numbers among the 50,000: the class's place, and the file.
VALIDATION = {7: (1, jpeg(7)), 8: (0, jpeg(8)), 30_000: (1, jpeg(9))}
CALLED = "3 of the 50,000 validation images, of 2 of the 1,000 classes"


def flat_name(number):
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_devkit(folder, lines=50_000):
    """The devkit's files; its numbers of classes are the places from the last one down, so that no two agree."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    rows = [(1000 - place, synset) for place, synset in enumerate(SYNSETS)] + [(1001, "n00001740")]
    synsets = np.array(rows, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")]).reshape(-1, 1)
    savemat(data / "meta.mat", {"synsets": synsets})
    places = {number: place for number, (place, _) in VALIDATION.items()}
    truth = "".join(f"{1000 - places.get(number, 0)}\n" for number in range(1, lines + 1))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth, encoding="ascii")


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def lay_out(layout, folder):
    """Write the validation images in one of the layouts."""
    flat = {flat_name(number): data for number, (_, data) in VALIDATION.items()}
    sorted_in = {f"{SYNSETS[place]}/{flat_name(n)}": data for n, (place, data) in VALIDATION.items()}
    if layout in {"flat", "plain tar"}:
        write_devkit(folder)
    if layout == "flat":
        for name, data in flat.items():
            write(folder / "val" / name, data)
    elif layout == "folders":
        for name, data in sorted_in.items():
            write(folder / "val" / name, data)
    elif layout == "plain tar":
        write_tar(folder / "ILSVRC2012_img_val.tar", flat)
    elif layout == "tar of folders":
        write_tar(folder / "val.tar", {f"./{name}": data for name, data in sorted_in.items()})
    else:  # shards
        for shard, (number, (place, data)) in enumerate(VALIDATION.items()):
            key = flat_name(number).removesuffix(".JPEG")
            members = {f"{key}.cls": b"%d" % place, f"{key}.jpg": data, f"{key}.json": b"{}"}
            write_tar(folder / f"imagenet-val-{shard:06d}.tar", members)


LAYOUTS = ["folders", "flat", "plain tar", "tar of folders", "webdataset"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_of_imagenet_gives_the_same_images(layout, tmp_path):
    lay_out("folders", tmp_path / "folders")
    wanted = load("imagenet2012", tmp_path / "folders")
    data_dir = tmp_path / "data"
    lay_out(layout, data_dir)
    found = load("imagenet2012", data_dir)
    assert found.sha256 == wanted.sha256
    assert found.images.what == CALLED
    assert list(zip(found.images.names, found.images.labels, strict=True)) == [
        ("n01440764/ILSVRC2012_val_00000008", 0),
        ("n01443537/ILSVRC2012_val_00000007", 1),
        ("n01443537/ILSVRC2012_val_00030000", 1),
    ]
    for index, number in enumerate([8, 7, 30_000]):
        assert found.images.read(index).tobytes() == VALIDATION[number][1]


def recipe_of(dataset, **changes):
    name = "imagenet2012" if dataset in {"imagenet2012", "cifar10", "imagefolder"} else "digits"
    source = datasets.find(dataset)
    recipe = {**read_spec(LARGE, name).recipe, "dataset": dataset, "num_classes": source.classes}
    return recipe | changes


def load(dataset, data_dir, split="test", *, skip_damaged=False, **changes):
    return datasets.load(recipe_of(dataset, **changes), split, data_dir, skip_damaged=skip_damaged)


def test_the_class_order_is_that_of_sorted_wordnet_ids():
    assert len(SYNSETS) == len(set(SYNSETS)) == 1000
    assert sorted(SYNSETS) == SYNSETS
    assert (SYNSETS[0], SYNSETS[283], SYNSETS[999]) == ("n01440764", "n02123394", "n15075141")


def test_a_whole_validation_set_is_called_so(tmp_path, monkeypatch):
    monkeypatch.setattr(ilsvrc, "VALIDATION_IMAGES", 1000)
    write_tar(tmp_path / "val.tar", {f"{synset}/{synset}.JPEG": b"" for synset in SYNSETS})
    images = datasets.find("imagenet2012").read("test", tmp_path)
    assert images.what == "the validation set"
    assert list(images.labels) == list(range(1000))


def damage_devkit(folder, **options):
    lay_out("flat", folder)
    shutil.rmtree(folder / "ILSVRC2012_devkit_t12")
    write_devkit(folder, **options)


TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


def wrong_line(folder):
    lay_out("flat", folder)
    file = folder / TRUTH
    file.write_text(file.read_text().replace("1000\n", "1001\n", 1))


def tar_of(**members):
    return lambda folder: write_tar(folder / "val.tar", {k.replace("__", "/"): v for k, v in members.items()})


def tar_with(member):
    def make(folder):
        with tarfile.open(folder / "val.tar", "w") as archive:
            archive.addfile(member)

    return make


def link():
    member = tarfile.TarInfo("n01440764/a.JPEG")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return member


def both(folder):
    lay_out("folders", folder)
    write(folder / "val" / flat_name(9), b"")


def cut_tar(folder):
    lay_out("plain tar", folder)
    file = folder / "ILSVRC2012_img_val.tar"
    file.write_bytes(file.read_bytes()[:1500])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.rmdir(), r"imagenet2012: expected --data-dir to be a folder with val/.*, found none at .*data"),
        (Path.exists, r"expected --data-dir to be a folder with val/.*found no folder .*val and no such tar"),
        (lambda f: (f / "val").mkdir(), r"found no image in .*val"),
        (lambda f: write(f / "val/n01440765/a.JPEG", b""), r"val: expected folders .*'n01440765', near n0144"),
        (lambda f: write(f / "val/cats/a.JPEG", b""), r"WordNet ids of the 1,000 classes.* found 'cats'; rename"),
        (lambda f: write(f / "val/n01440764/images/a.JPEG", b""), r"n01440764/images: expected nothing but images"),
        (lambda f: write(f / "val/n01440764/a.txt", b""), r"a.txt: expected nothing but images .*another kind; move"),
        (both, r"expected folders of synsets or images, found both, such as n01440764 and ILSVRC2012_val_00000009"),
        (lambda f: write(f / "val/a.JPEG", b""), r"the devkit's list of their classes, .*, found neither; unpack"),
        (lambda f: damage_devkit(f, lines=49_999), r"truth.txt: expected 50,000 lines, .* found 49,999 lines; unpack"),
        (wrong_line, r"truth.txt: expected 50,000 lines, each an ILSVRC2012_ID from 1 to 1000, found '1001'"),
        (
            lambda f: (lay_out("flat", f), (f / ilsvrc._META).write_bytes(b"MATLAB 5.0" * 30)),  # noqa: SLF001
            r"meta.mat: expected the devkit's table synsets .*, found 0 of these; unpack the devkit again",
        ),
        (
            lambda f: (lay_out("flat", f), write(f / "val/cat.jpg", b"")),
            r"cat.jpg: expected a validation image's name, ILSVRC2012_val_00000001 .*, found 'cat'",
        ),
        (cut_tar, r"ILSVRC2012_img_val.tar: expected a whole, uncompressed tar, found: .*; get it again"),
        (lambda f: write(f / "val.tar", gzip.compress(b"1" * 999)), r"val.tar: expected a whole, uncompressed tar"),
        (
            tar_with(link()),
            r"val.tar: 'n01440764/a.JPEG': expected a plain file below the archive's root, found a link",
        ),
        (
            tar_with(tarfile.TarInfo("../n01440764/a.JPEG")),
            r"'../n01440764/a.JPEG': expected a plain file below the archive's root",
        ),
        (
            tar_with(tarfile.TarInfo("/n01440764/a.JPEG")),
            r"'/n01440764/a.JPEG': expected a plain file below the archive's root",
        ),
        (tar_of(**{"a.jpg": b"", "b.jpg": b"", "a.cls": b"1"}), r"b.jpg: expected b.cls beside it, found none"),
        (tar_of(**{"a.jpg": b"", "a.cls": b"1", "b.cls": b"1"}), r"b.cls: expected an image beside it, found none"),
        (tar_of(**{"a.jpg": b"", "a.cls": b"1000"}), r"a.cls: expected a class number from 0 to 999, found '1000'"),
        (tar_of(**{"n00000001/a.jpg": b""}), r"val.tar: expected folders named by the WordNet ids"),
        (
            lambda f: (write(f / "val/n01440764/a.jpg", b""), write(f / "val/n01440764/a.JPEG", b"")),
            r"a.jpg: expected one image called n01440764/a, found another one, .*a.JPEG; move",
        ),
    ],
)
def test_imagenet_that_can_not_be_read_is_refused_in_one_line(make, message, tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    make(data_dir)
    refused("imagenet2012", data_dir, message)


def refused(dataset, data_dir, message, split="test", **changes):
    with pytest.raises(HubpkgError, match=message) as caught:
        load(dataset, data_dir, split, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", ["imagenet2012", "cifar10", "mnist", "imagefolder"])
def test_a_dataset_of_files_needs_a_folder(dataset, tmp_path):
    refused(dataset, None, f"{dataset}: expected --data-dir, a folder with .*, found none given", num_classes=10)
    file = tmp_path / "file"
    file.touch()
    refused(dataset, file, f"{dataset}: expected --data-dir to be a folder with .*, found a file at", num_classes=10)


def rotated():
    exif = Image.Exif()
    exif[0x112] = 6  # orientation: rotated by 90 degrees
    return {"exif": exif}


ODD = {
    "odd": jpeg(1, size=(301, 223)),
    "narrow": jpeg(2, size=(57, 401)),
    "tiny": jpeg(3, size=(9, 7)),
    "grey": jpeg(4, "L", (260, 333)),
    "cmyk": jpeg(5, "CMYK", (280, 240)),
    "rotated": jpeg(6, size=(310, 250), **rotated()),
    "progressive": jpeg(7, size=(240, 300), progressive=True),
    "unsampled": jpeg(8, size=(257, 259), subsampling=0),
}


@pytest.mark.parametrize("crop_pct", [0.875, 0.9])
@pytest.mark.parametrize("layout", ["folder", "tar"])
def test_imagenet_pixels_are_those_of_mindcv(layout, crop_pct, tmp_path):
    from mindcv.data import create_loader, create_transforms
    from mindspore.dataset import ImageFolderDataset

    for name, data in ODD.items():
        write(tmp_path / "val" / "n01440764" / f"{name}.JPEG", data)
    transforms = create_transforms(
        "imagenet", is_training=False, image_resize=224, crop_pct=crop_pct, interpolation="bicubic"
    )
    theirs = ImageFolderDataset(str(tmp_path / "val"), shuffle=False)
    ((expected, _),) = create_loader(theirs, len(ODD), transform=transforms).create_tuple_iterator(output_numpy=True)
    if layout == "tar":
        shutil.rmtree(tmp_path / "val")
        write_tar(tmp_path / "val.tar", {f"n01440764/{name}.JPEG": data for name, data in ODD.items()})
    images = load("imagenet2012", tmp_path).images
    ((ours, _),) = datasets.batches(images, recipe_of("imagenet2012", crop_pct=crop_pct), len(ODD))
    assert [name.partition("/")[2] for name in images.names] == sorted(ODD)
    assert ours.shape == (len(ODD), 3, 224, 224)
    np.testing.assert_array_equal(ours, expected)


def write_idx(file, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.astype(np.uint8).tobytes()
    write(file, gzip.compress(data) if file.suffix == ".gz" else data)


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
LABELS = np.arange(20) % 10


def write_mnist(folder, part="t10k", form="{}-idx{}-ubyte"):
    write_idx(folder / form.format(f"{part}-images", 3), PIXELS)
    write_idx(folder / form.format(f"{part}-labels", 1), LABELS)


@pytest.mark.parametrize("form", ["{}-idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte"])
@pytest.mark.parametrize(("split", "part"), [("test", "t10k"), ("train", "train")])
def test_mnist_is_read_plain_and_compressed(form, split, part, tmp_path):
    from mindspore.dataset import MnistDataset

    write_mnist(tmp_path, part, form)
    found = load("mnist", tmp_path, split)
    whole = {"test": "10,000 test", "train": "60,000 training"}[split]
    assert found.images.what == f"20 of the {whole} images"
    assert found.images.names[:2] == [f"{part}/00000", f"{part}/00001"]
    if form.endswith("}-ubyte") and "-idx" in form:
        theirs = MnistDataset(str(tmp_path), split, shuffle=False).create_tuple_iterator(output_numpy=True)
        for index, (image, label) in enumerate(theirs):
            np.testing.assert_array_equal(found.images.read(index), image)
            assert found.images.labels[index] == label
        assert index == 19
    np.testing.assert_array_equal(found.images.read(3)[..., 0], PIXELS[3])
    assert found.images.labels == LABELS.tolist()


IMAGES_FILE, LABELS_FILE = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def change(name, edit):
    def make(folder):
        file = folder / name
        file.write_bytes(edit(file.read_bytes()))

    return make


def cut_gzip(folder):
    data = gzip.compress((folder / IMAGES_FILE).read_bytes())
    (folder / IMAGES_FILE).unlink()
    (folder / f"{IMAGES_FILE}.gz").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: (f / LABELS_FILE).unlink(), r"found no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz in "),
        (change(IMAGES_FILE, lambda data: data[:-1]), r"expected 15,696 bytes for 20 items, found 15,695; get"),
        (change(IMAGES_FILE, lambda data: data[:9]), r"expected items of shape \(28, 28\), found \(\)"),
        (change(IMAGES_FILE, lambda data: data + b"1"), r"expected 15,696 bytes for 20 items, found 15,697"),
        (change(IMAGES_FILE, lambda data: b"\x1f\x8b" + data), r"begins with 00000803, found 1f8b0000; is it"),
        (change(IMAGES_FILE, lambda _: b""), r"begins with 00000803, found nothing"),
        (change(LABELS_FILE, lambda data: data[:3] + b"\x03" + data[4:]), r"begins with 00000801, found 00000803"),
        (lambda f: write_idx(f / IMAGES_FILE, PIXELS[:, :27]), r"items of shape \(28, 28\), found \(27, 28\)"),
        (lambda f: write_idx(f / LABELS_FILE, LABELS[:19]), r"as many labels .* found 19 labels and 20 images"),
        (lambda f: write_idx(f / LABELS_FILE, LABELS + 1), r"expected labels from 0 to 9, found 10 for image 9"),
        (cut_gzip, r"images-idx3-ubyte.gz: expected a whole gzip file, found: .*; get the file again"),
        (
            lambda f: (write_idx(f / IMAGES_FILE, PIXELS[:0]), write_idx(f / LABELS_FILE, LABELS[:0])),
            r"from 1 to 10,000, found 0 labels and 0 images",
        ),
    ],
)
def test_idx_files_that_are_wrong_are_refused_in_one_line(make, message, tmp_path):
    write_mnist(tmp_path)
    make(tmp_path)
    refused("mnist", tmp_path, message)


@pytest.mark.skipif(
    not mnist.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not there"
)
def test_fashion_mnist_is_that_of_debian_where_it_is_installed():
    test, train = (load("fashion-mnist", None, split) for split in ("test", "train"))
    assert (len(test.images), test.images.what) == (10_000, "the test set")
    assert (len(train.images), train.images.what) == (60_000, "the training set")
    assert set(Counter(test.images.labels).values()) == {1000}
    assert test.images.labels[:5] == [9, 2, 1, 1, 6]


def test_fashion_mnist_is_read_from_the_folder_that_is_given(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    assert len(load("fashion-mnist", tmp_path).images) == 20
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    refused("fashion-mnist", None, "fashion-mnist: expected --data-dir, a folder with .*, found none given")


def write_cifar10(folder, names=("test_batch",), records=5):
    generator = np.random.default_rng(0)
    data = generator.integers(0, 256, (records, 3073), dtype=np.uint8)
    data[:, 0] %= 10
    for name in names:
        write(folder / f"{name}.bin", data.tobytes())
    return data


@pytest.mark.parametrize("unpacked", ["", "cifar-10-batches-bin"])
def test_cifar10_is_read_by_split(unpacked, tmp_path):
    records = write_cifar10(tmp_path / unpacked, ["test_batch", *(f"data_batch_{number}" for number in range(1, 6))])
    test, train = (load("cifar10", tmp_path, split).images for split in ("test", "train"))
    assert (len(test), test.what) == (5, "5 of the 10,000 test images")
    assert (len(train), train.what) == (25, "25 of the 50,000 training images")
    assert train.names[7] == "data_batch_2/0002"
    assert train.labels[7] == records[2, 0]
    assert train.read(7)[3, 4, 1] == records[2, 1 + 1024 + 3 * 32 + 4]


def test_cifar10_has_mindspores_pixels(tmp_path):
    from mindspore.dataset import Cifar10Dataset

    write_cifar10(tmp_path, records=10_000)
    images = load("cifar10", tmp_path).images
    assert images.what == "the test set"
    theirs = Cifar10Dataset(str(tmp_path), "test", num_samples=20, shuffle=False)
    for index, (image, label) in enumerate(theirs.create_tuple_iterator(output_numpy=True)):
        np.testing.assert_array_equal(images.read(index), image)
        assert images.labels[index] == label
    assert index == 19


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.exists, r"cifar10: expected --data-dir to be .*test_batch.bin, found no .*test_batch.bin$"),
        (lambda f: write(f / "test_batch", b""), r"found no .*test_batch.bin \(there is the Python version; get"),
        (lambda f: write(f / "test_batch.bin", b"1" * 3072), r"test_batch.bin: expected 1 to 10,000 records of 3,073"),
        (lambda f: write(f / "test_batch.bin", b""), r"found 0 bytes; get the file again"),
        (lambda f: write(f / "test_batch.bin", b"\x0a" * 3073), r"labels from 0 to 9, found 10 in record 0; is it"),
    ],
)
def test_cifar10_that_is_wrong_is_refused_in_one_line(make, message, tmp_path):
    make(tmp_path)
    refused("cifar10", tmp_path, message)


def test_a_folder_of_images_gives_its_classes_by_name(tmp_path):
    for name in ("b/2.png", "b/10.jpg", "a b/1.JPG", "a/.hidden", "a/1.jpeg"):
        write(tmp_path / name, jpeg(1))
    (tmp_path / "empty").mkdir()
    images = load("imagefolder", tmp_path, num_classes=4).images
    assert list(zip(images.names, images.labels, strict=True)) == [
        ("a/1.jpeg", 0),
        ("a b/1.JPG", 1),
        ("b/10.jpg", 2),
        ("b/2.png", 2),
    ]
    assert images.what == "the 4 images of 3 of the 4 classes in a folder"
    refused("imagefolder", tmp_path, "num_classes: expected 4, as many as there are folders.* found 5", num_classes=5)
    refused("imagefolder", tmp_path, "expected train/<class>.*found no folder val", "train", num_classes=4)


def test_the_classes_of_a_folder_with_parts_are_those_of_both(tmp_path):
    for name in ("train/a/1.jpg", "train/c/1.jpg", "val/b/1.jpg", "val/c/2.jpg"):
        write(tmp_path / name, jpeg(1))
    train, test = (load("imagefolder", tmp_path, split, num_classes=3).images for split in ("train", "test"))
    assert list(zip(train.names, train.labels, strict=True)) == [("a/1.jpg", 0), ("c/1.jpg", 2)]
    assert list(zip(test.names, test.labels, strict=True)) == [("b/1.jpg", 1), ("c/2.jpg", 2)]


def test_a_folder_without_images_is_refused(tmp_path):
    refused("imagefolder", tmp_path, "found no image in", num_classes=2)
    (tmp_path / "val").mkdir()
    refused("imagefolder", tmp_path, "expected --data-dir to be .*found no folder .*train", "train", num_classes=2)


def test_every_image_comes_once_in_order(tmp_path):
    for index, synset in enumerate(SYNSETS[:70]):
        write(tmp_path / "val" / synset / f"{index}.JPEG", jpeg(index))
    recipe = recipe_of("imagenet2012", image_size=32)
    images = load("imagenet2012", tmp_path).images
    labels = [label for _, batch in datasets.batches(images, recipe, 32) for label in batch]
    assert labels == list(range(70))


def settle(folder):
    """Let the files be older than what a survey takes for still changing."""
    for file in folder.rglob("*"):
        os.utime(file, (1e9, 1e9))


@pytest.mark.parametrize("layout", ["folders", "plain tar"])
def test_a_survey_is_kept_until_a_file_changes(layout, tmp_path, monkeypatch):
    lay_out(layout, tmp_path)
    settle(tmp_path)
    first = load("imagenet2012", tmp_path)
    assert [entry.kind for entry in cache.entries()] == ["survey"]
    with monkeypatch.context() as patch:
        patch.setattr(survey, "_examine", None)  # nothing is read again
        assert load("imagenet2012", tmp_path).sha256 == first.sha256
    file = next(f for f in sorted(tmp_path.rglob("*")) if f.suffix in {".JPEG", ".tar"})
    data = bytearray(file.read_bytes())
    place = data.index(b"\xff\xda") + 40  # within the pixels of a JPEG
    data[place] ^= 1
    file.write_bytes(data)
    os.utime(file, (1e9, 1e9))  # as if nothing had been
    assert load("imagenet2012", tmp_path, skip_damaged=True).sha256 != first.sha256


def test_a_survey_takes_little_memory_for_each_image(tmp_path):
    """50,000 images may not take a tenth more memory than 500: that is 1,000 bytes each."""
    file, count = tmp_path / "image.JPEG", 4000
    file.write_bytes(jpeg(1))
    for index in range(count):
        folder = tmp_path / "val" / SYNSETS[index % 10]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / flat_name(index)).hardlink_to(file)
    settle(tmp_path)
    peaks = []
    for attempt in range(3):  # the first imports modules, and one may let Python's table of interned strings grow
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HUBPKG_CACHE", str(tmp_path / f"cache-{attempt}"))
            split = None  # with its names
            tracemalloc.start()
            try:
                split = load("imagenet2012", tmp_path)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert len(split.images) == count
    assert min(peaks) < 1000 * count


def test_a_file_that_changed_just_now_is_read_again(tmp_path):
    lay_out("folders", tmp_path)
    load("imagenet2012", tmp_path)
    assert cache.entries() == []


def test_a_damaged_record_of_a_survey_is_made_again(tmp_path):
    lay_out("folders", tmp_path)
    settle(tmp_path)
    first = load("imagenet2012", tmp_path)
    (entry,) = cache.entries()
    for text in ("", "{}", "[]", json.dumps({"sha256": 1})):
        entry.path.write_text(text, encoding="utf-8")
        assert load("imagenet2012", tmp_path).sha256 == first.sha256


def test_the_digest_depends_on_names_and_labels(tmp_path):
    write(tmp_path / "1" / "val" / SYNSETS[0] / "a.JPEG", jpeg(1))
    write(tmp_path / "2" / "val" / SYNSETS[1] / "a.JPEG", jpeg(1))
    write(tmp_path / "3" / "val" / SYNSETS[0] / "b.JPEG", jpeg(1))
    write(tmp_path / "4" / "val" / SYNSETS[0] / "a.JPEG", jpeg(2))
    assert len({load("imagenet2012", tmp_path / name).sha256 for name in "1234"}) == 4


DAMAGES = {
    "cut": (lambda data: data[: len(data) // 2], "truncated"),
    "two bytes": (lambda data: data[:2], "no JPEG, PNG or BMP"),  # MindSpore's decoder hangs on such
    "head": (lambda data: data[:100], "no JPEG, PNG or BMP|truncated|Truncated"),
    "empty": (lambda _: b"", "an empty file"),
    "text": (lambda _: b"Not found", "no JPEG, PNG or BMP"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("layout", ["folders", "plain tar"])
def test_a_damaged_image_is_named_or_left_out(layout, damage, tmp_path, monkeypatch):
    edit, reason = DAMAGES[damage]
    place, data = VALIDATION[7]
    monkeypatch.setitem(VALIDATION, 7, (place, edit(data)))
    lay_out(layout, tmp_path)
    refused("imagenet2012", tmp_path, rf"00000007.JPEG: expected an image .*({reason}).*; 1 of 3 images .*skip-damaged")
    for _ in range(2):
        split = load("imagenet2012", tmp_path, skip_damaged=True)
        assert split.damaged == ("n01443537/ILSVRC2012_val_00000007",)
        assert split.as_json()["images"] == 3
        assert [number[-5:] for number in split.images.names] == ["00008", "30000"]
        assert split.images.labels == [0, 1]
        assert split.images.read(1).tobytes() == VALIDATION[30_000][1]
        settle(tmp_path)


def test_a_missing_image_is_named_or_left_out(tmp_path):
    lay_out("folders", tmp_path)
    (tmp_path / "val" / SYNSETS[0] / "gone.JPEG").symlink_to(tmp_path / "nowhere")
    refused("imagenet2012", tmp_path, r"gone.JPEG: expected an image that can be read, found: No such file")
    assert load("imagenet2012", tmp_path, skip_damaged=True).damaged == ("n01440764/gone",)


def test_nothing_but_damaged_images_is_refused(tmp_path):
    write(tmp_path / "val" / SYNSETS[0] / "a.JPEG", b"")
    with pytest.raises(HubpkgError, match="expected at least one image that can be read, found none"):
        load("imagenet2012", tmp_path, skip_damaged=True)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_an_image_that_is_damaged_after_the_survey_is_named(damage, tmp_path):
    lay_out("folders", tmp_path)
    images = load("imagenet2012", tmp_path).images
    file = tmp_path / "val" / SYNSETS[1] / flat_name(7)
    file.write_bytes(file.read_bytes()[:400]) if damage == "cut" else file.unlink()
    with pytest.raises(
        HubpkgError, match=r"00000007.JPEG: expected the image as it was .* found: .*; run it again"
    ) as caught:
        list(datasets.batches(images, recipe_of("imagenet2012", image_size=32), 2))
    assert "\n" not in str(caught.value)
