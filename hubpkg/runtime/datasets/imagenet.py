"""ILSVRC 2012's images, in the layouts that people have.

``imagenet_synsets.txt`` holds the WordNet ids of the 1,000 classes, sorted, which is their order; the list is timm
1.0.31's ``timm/data/_info/imagenet_synsets.txt``.
"""

import difflib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.images import SUFFIXES, Images, Located, folder_of, from_files, images_in, share

LAYOUT = (
    "a folder with val/<synset>/*.JPEG; or with val/ILSVRC2012_val_*.JPEG or ILSVRC2012_img_val.tar and the devkit's "
    "folder ILSVRC2012_devkit_t12; or with *val*.tar of <synset>/*.JPEG, or of *.jpg and *.cls"
)
VALIDATION_IMAGES = 50_000
_GROUND_TRUTH = Path("ILSVRC2012_devkit_t12", "data", "ILSVRC2012_validation_ground_truth.txt")
_META = Path("ILSVRC2012_devkit_t12", "data", "meta.mat")
_FLAT_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


@cache
def classes() -> Mapping[str, int]:
    """The number of each class by its WordNet id."""
    text = Path(__file__).with_name("imagenet_synsets.txt").read_text(encoding="ascii")
    return {synset: number for number, synset in enumerate(text.split())}


def images(split: str, data_dir: Path | None) -> Images:
    """The validation images, or those under ``train/``; each is called ``<synset>/<name without suffix>``."""
    data_dir = folder_of("imagenet2012", data_dir, LAYOUT)
    folder = data_dir / {"train": "train", "test": "val"}[split]
    tars = sorted(file for file in data_dir.glob("*.tar") if "val" in file.name.lower()) if split == "test" else []
    if folder.is_dir():
        found, where = list(_in_folder(folder, data_dir)), str(folder)
    elif tars:
        found, where = list(_in_tars(tars, data_dir)), ", ".join(map(str, tars))
    else:
        raise HubpkgError(f"imagenet2012: expected --data-dir to be {LAYOUT}, found no folder {folder} and no such tar")
    if not found:
        raise HubpkgError(f"imagenet2012: expected --data-dir to be {LAYOUT}, found no image in {where}")
    if split == "train":
        return from_files(found, len(classes()), "the training images")
    if len(found) > VALIDATION_IMAGES:
        raise HubpkgError(
            f"{where}: expected at most the {VALIDATION_IMAGES:,} validation images, found {len(found):,}"
        )
    return from_files(found, len(classes()), _what(found))


def _what(found: list[Located]) -> str:
    counted = len({image.label for image in found})
    part = share(len(found), VALIDATION_IMAGES, "validation images", "the validation set")
    if counted == len(classes()):
        return part if len(found) == VALIDATION_IMAGES else f"{part}, of all {counted:,} classes"
    return f"{part}, of {counted:,} of the {len(classes()):,} classes"


def _in_folder(folder: Path, data_dir: Path) -> Iterator[Located]:
    with os.scandir(folder) as entries:
        inside = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    synsets = sorted(name for name, is_folder in inside.items() if is_folder)
    flat = [name for name in inside if not inside[name] and PurePath(name).suffix.lower() in SUFFIXES]
    if synsets and flat:
        raise HubpkgError(
            f"{folder}: expected folders of synsets or images, found both, such as {synsets[0]} and {min(flat)}; "
            "move the ones or the others away"
        )
    _check_known(synsets, folder)
    for synset in synsets:
        for name in images_in(folder / synset):
            yield Located(f"{synset}/{PurePath(name).stem}", classes()[synset], str(folder / synset / name))
    truth = _ground_truth(data_dir) if flat else []
    for name in flat:
        stem, file = PurePath(name).stem, str(folder / name)
        synset = truth[_number(stem, file) - 1]
        yield Located(f"{synset}/{stem}", classes()[synset], file)


def _check_known(synsets: Iterable[str], where: Path) -> None:
    unknown = [synset for synset in synsets if synset not in classes()]
    if unknown:
        near = difflib.get_close_matches(unknown[0], classes(), n=1, cutoff=0.8)
        hint = f", near {near[0]}" if near else ""
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise HubpkgError(
            f"{where}: expected folders named by the WordNet ids of the 1,000 classes, such as n01440764, found "
            f"{unknown[0]!r}{hint}{more}; rename or remove what is not a class of ILSVRC 2012"
        )


def _number(stem: str, where: str) -> int:
    match = _FLAT_NAME.fullmatch(stem)
    if match is None or not 1 <= int(match[1]) <= VALIDATION_IMAGES:
        raise HubpkgError(
            f"{where}: expected a validation image's name, ILSVRC2012_val_00000001 to ILSVRC2012_val_00050000, by "
            f"which the devkit tells its class, found {stem!r}"
        )
    return int(match[1])


def _ground_truth(data_dir: Path) -> list[str]:
    """The synsets of the validation images, in order, from the devkit."""
    file = data_dir / _GROUND_TRUTH
    try:
        lines = file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        raise HubpkgError(
            f"imagenet2012: expected the validation images in folders of synsets, or the devkit's list of their "
            f"classes, {file}, found neither; unpack ILSVRC2012_devkit_t12.tar.gz in {data_dir}"
        ) from None
    except UnicodeDecodeError:
        lines = []
    synsets = _synsets_by_id(data_dir / _META)
    wrong = next((line for line in lines if line not in synsets), None)
    if len(lines) != VALIDATION_IMAGES or wrong is not None:
        found = f"{len(lines):,} lines" if wrong is None else f"{wrong[:20]!r}"
        raise HubpkgError(
            f"{file}: expected {VALIDATION_IMAGES:,} lines, each an ILSVRC2012_ID from 1 to 1000, found {found}; "
            "unpack the devkit again"
        )
    return [synsets[line] for line in lines]


def _synsets_by_id(file: Path) -> dict[str, str]:
    from scipy.io import loadmat  # which scikit-learn brings
    from scipy.io.matlab import MatReadError

    try:
        table: Any = loadmat(str(file), squeeze_me=True)["synsets"]
        rows = zip(table["ILSVRC2012_ID"], table["WNID"], strict=True)
        synsets = {str(int(number)): str(synset) for number, synset in rows if int(number) <= len(classes())}
    except OSError as error:
        raise HubpkgError(f"{file}: expected the devkit's table of synsets, found: {error.strerror or error}") from None
    except (MatReadError, KeyError, ValueError, TypeError, IndexError, NotImplementedError):
        synsets = {}
    if sorted(synsets.values()) != list(classes()):
        raise HubpkgError(
            f"{file}: expected the devkit's table synsets with the WNID of each ILSVRC2012_ID from 1 to 1000, found "
            f"{len(set(synsets.values()) & classes().keys()):,} of these; unpack the devkit again"
        )
    return synsets


def _in_tars(tars: list[Path], data_dir: Path) -> Iterator[Located]:
    """The images in archives, which are read where they lie and never unpacked."""
    synsets = list(classes())
    truth: list[str] = []
    for tar in tars:
        try:
            parts, numbers = _members(tar)
        except (tarfile.TarError, EOFError) as error:
            raise HubpkgError(f"{tar}: expected a whole, uncompressed tar, found: {error}; get it again") from None
        keys = {_key(part) for part in parts}
        for key in sorted(numbers.keys() - keys):
            raise HubpkgError(f"{tar}: {key}.cls: expected an image beside it, found none")
        for member, (offset, size) in parts.items():
            folder, _, name = member.rpartition("/")
            stem, synset = name.rpartition(".")[0], folder.rpartition("/")[2]
            if numbers:
                if _key(member) not in numbers:
                    raise HubpkgError(f"{tar}: {member}: expected {_key(member)}.cls beside it, found none")
                synset, stem = synsets[numbers[_key(member)]], _key(member).rpartition("/")[2]
            elif re.fullmatch(r"n\d{8}", synset):
                _check_known([synset], tar)
            else:
                truth = truth or _ground_truth(data_dir)
                synset = truth[_number(stem, f"{tar}: {member}") - 1]
            yield Located(f"{synset}/{stem}", classes()[synset], str(tar), member, offset, size)


def _key(member: str) -> str:
    """What WebDataset calls the key: the path up to the first dot of the last part."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _members(tar: Path) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Where the images in ``tar`` begin and how long they are, by name, and the class numbers by key."""
    parts, numbers = {}, {}
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            parents, _, name = member.name.rpartition("/")
            if member.isdir() or name.startswith("."):
                continue
            if not member.isreg() or member.issparse() or member.name.startswith("/") or ".." in parents.split("/"):
                raise HubpkgError(
                    f"{tar}: {member.name!r}: expected a plain file below the archive's root, found a link, a "
                    "special file or a path that leads out of it"
                )
            suffix = "." + name.rpartition(".")[2].lower()
            if suffix in SUFFIXES:
                if member.name in parts:
                    raise HubpkgError(f"{tar}: {member.name}: expected it once, found it twice")
                parts[member.name] = (member.offset_data, member.size)
            elif suffix == ".cls":
                text = archive.extractfile(member).read(20).decode("ascii", "replace").strip()  # type: ignore[union-attr] # a plain file
                if not re.fullmatch(r"\d{1,3}", text):
                    raise HubpkgError(f"{tar}: {member.name}: expected a class number from 0 to 999, found {text!r}")
                numbers[_key(member.name)] = int(text)
    return parts, numbers
