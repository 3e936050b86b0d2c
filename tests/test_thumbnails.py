"""Images of a dataset, made small."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from hubpkg import diagnosis, mistakes, predictions
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


@pytest.mark.parametrize(("channels", "made"), [(1, True), (2, False), (3, True), (4, True)])
def test_images_that_are_no_pictures_are_left_out(channels, made):
    images = from_array(np.zeros((1, 8, 8, channels), np.uint8), [0], ["a"], "one image")
    assert bool(thumbnails.make(images, ["a"])) is made


def test_a_package_holds_the_images_it_gets_most_wrong(small_package):
    found = mistakes.read((small_package / mistakes.FILE).read_bytes())
    wrong = diagnosis.diagnose(predictions.read(small_package / predictions.FILE), 10).mistakes
    assert list(found) == [mistake.image for mistake in wrong]
    assert 0 < len(found) <= 24
    assert all(opened(data)[1] == (8, 8) for data in found.values())
    assert "evidence/mistakes.json" in json.loads((small_package / "hubpkg.json").read_bytes())["files"]


def test_a_package_holds_none_where_the_dataset_s_images_may_not_be_passed_on(hubpkg, models, small_package, tmp_path):
    shutil.copytree(models, tmp_path / "models")
    for file in (tmp_path / "models").glob("*/model.yaml"):
        text = file.read_text(encoding="utf-8")
        assert text.count("digits: {}") == 1
        file.write_text(text.replace("digits: {}", "digits: { thumbnails: false }"), encoding="utf-8")
    done = hubpkg("build", "xcit_small", "--out", tmp_path, env={"HUBPKG_MODELS": str(tmp_path / "models")})
    assert done.returncode == 0, done.stderr
    made = tmp_path / small_package.name
    assert (small_package / mistakes.FILE).is_file()
    assert not (made / mistakes.FILE).exists()
    assert (made / predictions.FILE).read_bytes() == (small_package / predictions.FILE).read_bytes()
    assert "The package holds no pictures" in made.with_name(f"{made.name}.report.html").read_text(encoding="utf-8")
