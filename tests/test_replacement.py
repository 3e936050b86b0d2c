"""Files that take their place whole: what is left of one that could not be written, and what messages call it."""

from pathlib import Path

import pytest

from hubpkg import replacement


def test_a_file_takes_the_place_of_another_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "figures.json"
    path.write_bytes(b"old")
    replacement.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_right_is_not_touched(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"same")
    before = path.stat()
    replacement.write(path, b"same")
    assert path.stat() == before


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_what_was_begun_is_removed_and_the_earlier_file_stays(tmp_path, fault):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"old")

    def write():
        with replacement.of(path) as partial:
            partial.write_bytes(b"ne")
            assert (partial.parent, partial.suffix) == (tmp_path, ".ckpt")
            raise fault

    with pytest.raises(fault):
        write()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"old"]


def test_two_at_once_do_not_write_to_one_file(tmp_path):
    with replacement.of(tmp_path / "x") as first, replacement.of(tmp_path / "x") as second:
        assert first != second
        first.touch()
        second.touch()


def test_an_error_names_the_file_that_was_meant(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        replacement.write(tmp_path / "folder", b"x")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)
    with pytest.raises(FileNotFoundError) as caught:
        replacement.write(tmp_path / "none" / "x", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "x")
    full = "No space left on device: '.*/x'"
    with pytest.raises(OSError, match=full), Path("/dev/full").open("wb", 0) as device, replacement.of(tmp_path / "x"):
        device.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
