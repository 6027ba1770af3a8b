"""Points as words."""

from __future__ import annotations

import pytest

from app.points import parse_point
from quantbot.errors import ParameterError


def test_points__read_whole_numbers_numbers_and_words() -> None:
    point = parse_point(["fast=20, slow=1e2", "execution.fill=same_close"])
    assert point == {"fast": 20, "slow": 100.0, "execution.fill": "same_close"}
    assert isinstance(point["fast"], int)


@pytest.mark.parametrize("words", [["fast"], ["fast="], ["=3"], ["fast=1,fast=2"], ["fast=1", "fast=1"]])
def test_points__refuse_what_is_no_point(words: list[str]) -> None:
    with pytest.raises(ParameterError):
        parse_point(words)
