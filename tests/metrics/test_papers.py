"""The papers' printed values: complete, in our words, and beside nothing that was measured otherwise."""

import csv
from importlib.resources import files

import numpy as np
import pytest

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.metrics import official
from foleyray.metrics.papers import beside, printed
from foleyray.metrics.scores import ClassScore
from tests.shared import SHARED, needs_shared

WORDS = {"average", "average_without_motor", "all", "class_min", "class_max"}


def score(name: str, **changes) -> ClassScore:
    values = {
        "name": name,
        "fad": 5.0,
        "interval": (4.0, 6.0),
        "other_fads": {},
        "nearest_class": name,
        "num_clips": 100,
        "num_reference_clips": 100,
        "num_frames": 1000,
        "num_reference_frames": 1000,
        "dropped_share": 0.0,
        "num_silent": 0,
        "num_clipped": 0,
        "diversity": 0.5,
        "diversity_ratio": 1.0,
        "warnings": (),
        "embedder": "vggish",
        "recipe": "t7",
        "weights_id": "12345678",
        "note": "",
    }
    return ClassScore.model_construct(**(values | changes))


def scores(**changes) -> dict[str, ClassScore]:
    return {name: score(name, **(changes if name == "Rain" else {})) for name in DCASE7.names}


def table() -> list[dict[str, str]]:
    with (files("foleyray.metrics") / "papers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def find(variant: str, system: str = ""):
    return next(row for row in printed("fad") if row.variant == variant and row.system.startswith(system))


def test_classes_are_ours_and_values_are_numbers():
    for row in table():
        assert set(row["class"].split("|")) <= set(DCASE7.names) | WORDS
        assert float(row["value"]) >= 0 and row["n_clips"] in ("", "32", "100") and row["paper"] and row["table"]


def test_a_row_holds_its_classes_and_the_mean_as_printed():
    row = find("270k ns0.6")
    assert (row.system, row.table, row.num_clips, row.mean) == ("vifs", "Table 2", None, 12.638)
    assert list(row.values) == list(DCASE7.names) and row.values["MovingMotorVehicle"] == 34.429
    assert "mean of 12.643" in row.note and np.mean(list(row.values.values())) == pytest.approx(12.643, abs=6e-4)


def test_a_mean_that_is_not_printed_is_that_of_seven_classes_or_none():
    assert find("LDM-S").mean == pytest.approx(np.mean([4.41, 7.44, 7.46, 3.13, 16.97, 12.62, 3.02]))
    assert find("LDM-L motor embedding: Audio embedding").values == {"MovingMotorVehicle": 8.88}
    assert find("LDM-L motor embedding: Audio embedding").mean is None
    assert find("final system").values == {} and find("final system").mean == 4.52


def test_printed_means_are_those_of_their_classes_unless_a_note_says_so():
    for row in printed("fad"):
        if len(row.values) == 7 and "printed values" not in row.note:
            assert row.mean == pytest.approx(np.mean(list(row.values.values())), abs=4e-3), row


def test_other_metrics_are_there_too():
    assert [row.mean for row in printed("was")] == [6.967]
    assert printed("nothing of that name") == []


def test_beside_a_result_of_the_challenges_kind_stand_comparable_rows_once():
    rows = beside(scores(), official.CARD)
    variants = [row.variant for row in rows]
    assert "DT0.1 CT1.0" in variants and "ensemble (submission 4)" in variants
    assert not any("copy" in variant or "retrained" in variant for variant in variants)
    assert {row.num_clips for row in rows} == {None, 100}
    assert sorted(row.mean for row in rows if row.system == "baseline") == pytest.approx([9.7, 9.702, 9.702, 9.7023], abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "16k"}, "Rain was heard by vggish:16k, the papers' FAD is by vggish:t7"),
        ({"embedder": "yamnet", "recipe": "active"}, "Rain was heard by yamnet:active"),
        ({"num_clips": 64}, "Rain has 64 clips, the papers' FAD is of 100 a class"),
    ],
)
def test_beside_anything_else_they_do_not_stand(changes, message):
    with pytest.raises(UserError, match=message):
        beside(scores(**changes), official.CARD)


def test_nor_beside_another_reference_or_fewer_classes():
    own = official.CARD.model_copy(update={"weights_id": "12345678"})
    with pytest.raises(UserError, match="reference is of vggish:t7@12345678, the papers' FAD is to the challenge's own"):
        beside(scores(), own)
    with pytest.raises(UserError, match="Footstep, Rain not scored"):
        beside({name: score(name) for name in DCASE7.names if name not in ("Footstep", "Rain")}, official.CARD)


@needs_shared
def test_every_value_of_the_papers_is_there():
    with (SHARED / "systems/targets.csv").open(encoding="utf-8", newline="") as file:
        given = [row for row in csv.DictReader(file) if row["origin"] == "seed"]
    ours = table()
    keys = ("system", "variant", "metric", "value", "table", "n_clips")
    assert [[row[key] for key in keys] for row in ours] == [[row[key] for key in keys] for row in given]
    for row, source in zip(ours, given, strict=True):
        names = [word if word in WORDS else DCASE7.names[DCASE7.index(word)] for word in source["class"].split("|")]
        assert row["class"] == "|".join(names)
