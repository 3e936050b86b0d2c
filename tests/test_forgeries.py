"""The forgery campaign, in small: what has to be found is found, and docs/forgeries.md says so of the whole."""

import shutil
from pathlib import Path

import forgeries
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "forgeries.md"
FEW = {"bytes": 25, "digits": 25, "accuracy": 4, "timings": 2, "weights": 2, "code": 12}

pytestmark = pytest.mark.usefixtures("mode")  # a rerun sets graph mode


@pytest.fixture(scope="module")
def signed(small_package, tmp_path_factory):
    """A package, and the policy that asks for the signature beside it."""
    folder = tmp_path_factory.mktemp("forgeries")
    package = Path(shutil.copytree(small_package, folder / small_package.name))
    return package, forgeries.sign(package, folder)


@pytest.mark.parametrize("kind", forgeries.KINDS, ids=lambda kind: kind.name)
def test_what_has_to_be_found_is(kind, signed, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    found = [forgeries.forge(kind.name, number, *signed) for number in range(FEW[kind.name])]
    assert all(one.signature for one in found)
    if kind.name in ("bytes", "digits"):
        assert all("files" in one.static or "manifest" in one.static for one in found)
    elif kind.name in ("accuracy", "weights"):
        assert all(one.rerun for one in found)
    elif kind.name == "code":
        assert {bool(one.static) for one in found} == {True, False}


def test_a_forgery_is_made_by_its_seed(signed, tmp_path):
    made = []
    for name in ("a", "b"):
        package = Path(shutil.copytree(signed[0], tmp_path / name))
        forgeries.KINDS[1].forge(package, forgeries.random.Random("digits 0"), tmp_path)
        made.append(forgeries.digests(package))
    assert made[0] == made[1] != forgeries.digests(signed[0])


def test_the_page_is_of_the_whole_campaign_and_all_of_it_was_found():
    text = PAGE.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    found = {row[0]: row[1:] for row in rows[2:]}
    assert {name: int(row[1]) for name, row in found.items()} == forgeries.COUNTS
    assert sum(forgeries.COUNTS.values()) >= 1000
    for kind in forgeries.KINDS:
        what, forged, static, _, signature, rerun = found[kind.name]
        assert what == kind.what
        assert signature == forged
        if kind.name in ("bytes", "digits"):
            assert static == forged
        if kind.name in ("accuracy", "weights"):
            assert rerun == f"{forged} of {forged}"
