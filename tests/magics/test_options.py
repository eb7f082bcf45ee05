"""The first line of a ``%%claw`` cell."""

from __future__ import annotations

import pytest

from claw_magics.errors import ClawUsageError
from claw_magics.options import CellOptions, parse_options


def test_all_options() -> None:
    found = parse_options("--model ollama/qwen3 --max-turns=3 --max-cost $0.50 --mode plan")
    assert found == CellOptions("ollama/qwen3", 3, 0.5, "plan")


def test_no_options() -> None:
    assert parse_options("  ") == CellOptions()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--modell x", "no option --modell. Did you mean --model?"),
        ("--max-turn 3", "Did you mean --max-turns?"),
        ("--mode plam", "Did you mean plan?"),
        ("--max-turns 0", "a number of model requests, 1 or more, not '0'"),
        ("--max-turns some", "not 'some'"),
        ("--max-cost nan", "an amount in US dollars"),
        ("--max-cost -1", "an amount in US dollars"),
        ("--model", "--model needs a model's name"),
        ("summarise the data", "the request itself goes on the lines below"),
        ('--model "x', "unclosed quote"),
    ],
)
def test_one_line_says_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(ClawUsageError) as error:
        parse_options(line)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
