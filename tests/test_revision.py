"""A package in place of itself."""

from types import SimpleNamespace

import drawn
import pytest

from hubpkg import manifest, revision


@pytest.fixture
def places(tmp_path):
    """A package, and a link to it in another folder."""
    package = drawn.package(tmp_path / "dist", images=20)
    link = tmp_path / "elsewhere" / "linked"
    link.parent.mkdir()
    link.symlink_to(package)
    return SimpleNamespace(package=package, link=link)


@pytest.mark.parametrize(("given", "other"), [("package", "link"), ("link", "package")])
def test_reports_of_a_package_as_it_was_are_told_of_where_they_lie(places, given, other, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    folder, told = vars(places)[given], []
    pages = {name: place.with_name(f"{place.name}.report.html") for name, place in vars(places).items()}
    for page in pages.values():
        page.write_text("as it was", encoding="utf-8")
    revision.revise(folder, manifest.read(places.package / manifest.NAME) | {"published": True}, told.append)
    stale = [line for line in told if "shows the package as it was before" in line]
    assert f"{pages[given]}: shows the package as it was before; make it again: hubpkg report {folder}" in stale
    # Of the places that lead to a package, its own is known, and the one that it was reached by.
    assert any(line.startswith(f"{pages[other]}:") for line in stale) is (other == "package")
    pages[given].unlink()
    told.clear()
    revision.revise(folder, manifest.read(places.package / manifest.NAME) | {"published": False}, told.append)
    assert not [line for line in told if str(pages[given]) in line]
