"""Images of a dataset, small enough to be put in a page."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets import Images

SIDE = 96  # pixels, at most
_CHANNELS_LAST = 3  # dimensions of an image; a file's bytes have one


def make(images: Images, names: Sequence[str]) -> Mapping[str, bytes]:
    """The images called ``names`` as PNG, in that order, larger ones made smaller; what can't be read is left out."""
    from PIL import Image

    wanted = set(names)
    found = {}
    for index, name in enumerate(images.names):
        if name not in wanted:
            continue
        try:
            data = images.read(index)
            if data.ndim != (1 if images.encoded else _CHANNELS_LAST) or data.dtype != np.uint8:
                continue  # rows of features, token ids
            if images.encoded:
                picture = Image.open(io.BytesIO(data.tobytes())).convert("RGB")
            else:
                picture = Image.fromarray(data[:, :, 0] if data.shape[-1] == 1 else data)
            picture.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            picture.quantize(64).save(file, "PNG", optimize=True)
        except (HubpkgError, OSError, ValueError, Image.DecompressionBombError):
            continue
        found[name] = file.getvalue()
    return {name: found[name] for name in names if name in found}
