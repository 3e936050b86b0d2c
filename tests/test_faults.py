"""Every row of the fault table happens as it must, and docs/faults.md is that table."""

import re
from pathlib import Path

import faults
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


@pytest.mark.parametrize("row", faults.rows(), ids=lambda row: row.name)
def test_it_happens_as_it_must_and_as_the_page_says(row):
    did = faults.happen(row)
    assert f"| {row.injected} | {row.must} | {did} |" in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_every_row_and_no_other():
    lines = re.findall(r"^\| (?!injected)(.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines == [row.injected for row in faults.rows()]
    assert len(lines) >= 45


def test_the_page_names_no_address_of_a_run():
    assert not re.search(r":\d{4,5}/|/tmp/|/home/|[0-9a-f]{12}", PAGE.read_text(encoding="utf-8"))
