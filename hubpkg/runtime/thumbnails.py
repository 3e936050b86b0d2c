"""Images of a dataset, small enough to be put in a page."""

import io
from collections.abc import Mapping, Sequence

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets import Images

SIDE = 96  # pixels, at most
_DIMENSIONS = (1, 3)  # of a file's bytes, and of an image


def make(images: Images, names: Sequence[str]) -> Mapping[str, bytes]:
    """The images called ``names`` as PNG, larger ones made smaller; one that can't be read any more is left out."""
    from PIL import Image

    wanted = set(names)
    found = {}
    for index, name in enumerate(images.names):
        if name not in wanted:
            continue
        try:
            data = images.read(index)
            if data.ndim not in _DIMENSIONS:
                continue
            if images.encoded:
                picture = Image.open(io.BytesIO(data.tobytes())).convert("RGB")
            else:
                picture = Image.fromarray(data[:, :, 0] if data.shape[-1] == 1 else data)
            picture.thumbnail((SIDE, SIDE))
        except (HubpkgError, OSError, ValueError, Image.DecompressionBombError):
            continue
        file = io.BytesIO()
        picture.quantize(64).save(file, "PNG", optimize=True)
        found[name] = file.getvalue()
    return found
