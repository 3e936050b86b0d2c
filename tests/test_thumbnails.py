"""Images of a dataset, made small."""

import io

import numpy as np
import pytest
from PIL import Image

from hubpkg.runtime import thumbnails
from hubpkg.runtime.datasets import from_array
from hubpkg.runtime.datasets.images import Located, from_files


def opened(data):
    with Image.open(io.BytesIO(data)) as picture:
        return picture.format, picture.size, np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_are_small_come_out_as_they_are(channels):
    pixels = np.zeros((3, 8, 8, channels), np.uint8)
    pixels[1, :4] = 255
    images = from_array(pixels, [0, 1, 2], ["a", "b", "c"], "images", ())
    made = thumbnails.make(images, ["b", "none"])
    assert list(made) == ["b"]
    kind, size, found = opened(made["b"])
    assert (kind, size) == ("PNG", (8, 8))
    np.testing.assert_array_equal(found, np.broadcast_to(pixels[1], (8, 8, 3)))


def test_photos_are_made_small_and_damaged_ones_left_out(tmp_path):
    photo = Image.effect_noise((400, 300), 50).convert("RGB")
    photo.save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:500])
    located = [Located(name, 0, str(tmp_path / name)) for name in ("a.jpg", "b.jpg", "gone.jpg")]
    made = thumbnails.make(from_files(located, 1, "photos"), ["a.jpg", "b.jpg", "gone.jpg"])
    assert list(made) == ["a.jpg"]
    assert opened(made["a.jpg"])[:2] == ("PNG", (96, 72))
    assert len(made["a.jpg"]) < 8_000
