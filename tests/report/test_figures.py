"""Numbers as a reader wants them, and places on the strip."""

import pytest

from foleyray.report.figures import LogScale, breakable, duration, number, warmth

TEXTS = {
    0.0: "0",
    4.0: "4",
    -2.5: "-2.50",
    3.14159: "3.14",
    31.4159: "31.4",
    314.159: "314",
    31415.9: "31,416",
    8000: "8,000",
    0.012345: "0.0123",
    1.5e-7: "1.50e-07",
    float("inf"): "–",
    float("nan"): "–",
    None: "–",
}


@pytest.mark.parametrize(("value", "text"), TEXTS.items())
def test_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (52, "52 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_name_may_break_between_its_words_and_is_escaped():
    assert breakable("MovingMotorVehicle") == "Moving<wbr>Motor<wbr>Vehicle"
    assert breakable("<b>") == "&lt;b&gt;"


def test_the_strip_is_logarithmic_and_holds_all_values():
    scale = LogScale.over([1.0, 10.0, 100.0])
    low, middle, high = (scale.at(value) for value in (1.0, 10.0, 100.0))
    assert 0 < low < 0.1 and middle == pytest.approx(0.5) and 0.9 < high < 1
    assert [words for _, words in scale.ticks()] == ["1", "3", "10", "30", "100"]
    assert LogScale.over([5.0]).at(5.0) == pytest.approx(0.5) and LogScale.over([]).at(1.0) == pytest.approx(0.5)
    assert (scale.at(0.0), scale.at(1e9)) == (0.0, 1.0)


def test_the_nearest_is_the_warmest():
    assert warmth({"a": 1.0, "b": 10.0, "c": 100.0}) == {"a": 46, "b": 23, "c": 0}
    assert warmth({"a": 1.0}) == {"a": 0}
