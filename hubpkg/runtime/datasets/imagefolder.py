"""Any folder of images with a folder for each class."""

from pathlib import Path

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.images import Images, Located, folder_of, from_files, images_in

LAYOUT = "a folder with <class>/*.jpg, or with train/<class>/*.jpg and val/<class>/*.jpg"


def images(split: str, data_dir: Path | None) -> Images:
    """Those under ``train/`` or ``val/``; without such folders, all of them are the test images.

    The classes are the names of the folders of both, sorted.
    """
    folder = folder_of("imagefolder", data_dir, LAYOUT)
    parts = {"train": folder / "train", "test": folder / "val"}
    if not parts["test"].is_dir():
        if split == "train":
            raise HubpkgError(
                f"imagefolder: expected train/<class>/*.jpg to train on and val/<class>/*.jpg to evaluate on in "
                f"{folder}, found no folder val"
            )
        parts = {"test": folder}
    if split not in parts or not parts[split].is_dir():
        raise HubpkgError(f"imagefolder: expected --data-dir to be {LAYOUT}, found no folder {parts[split]}")
    # A class may be missing from one part; its number may not depend on that.
    classes = sorted({name for part in parts.values() if part.is_dir() for name in _classes(part)})
    located = [
        Located(f"{name}/{file}", label, str(parts[split] / name / file))
        for label, name in enumerate(classes)
        if (parts[split] / name).is_dir()
        for file in images_in(parts[split] / name)
    ]
    if not located:
        raise HubpkgError(f"imagefolder: expected --data-dir to be {LAYOUT}, found no image in {parts[split]}")
    counted = len({image.label for image in located})
    of_classes = f"{len(classes):,}" if counted == len(classes) else f"{counted:,} of the {len(classes):,}"
    return from_files(located, len(classes), f"the {len(located):,} images of {of_classes} classes in a folder")


def _classes(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
