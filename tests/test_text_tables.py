"""Tables in text: cells as they are given, in aligned columns."""

import pytest

from ptdit_jax.text_tables import amount, gib, mib, table, triple

ROWS = [["PT-DiT/S", "1,234.50", "1e3", "007"], ["DiT", "2", "", "-0"], ["", "nan", "+1.0%", "True"]]


def test_cells_stay_as_they_are():
    lines = table(["model", "MACs", "", "px"], ROWS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["model", "MACs", "", "px"]
    assert cells[2:] == ROWS


def test_the_first_column_is_to_the_left_and_the_others_to_the_right():
    lines = table(["model", "MACs", "", "px"], ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("|:-")
    assert all(cell.endswith("-:") for cell in lines[1].strip("|").split("|")[1:])
    assert all(line.split("|")[1].startswith(f" {row[0]}") for line, row in zip(lines[2:], ROWS, strict=True))
    assert all(line.endswith(f"{row[-1]} |") for line, row in zip(lines[2:], ROWS, strict=True))


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0.00"), (1, "1.00"), (1234.567, "1,234.57"), (0.0123, "0.012"), (-0.5, "-0.5"), (-2, "-2.00")],
)
def test_numbers_have_two_decimals_or_two_digits(number, text):
    assert amount(number) == text
    assert gib(number * 2**30) == text
    assert mib(number * 2**20) == text


def test_sizes():
    assert triple((1, 2, 2)) == "1x2x2"
