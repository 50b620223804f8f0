"""A grid is tried as it stands, whole, at every checkpoint; the table that comes of it is that of the papers."""

import csv
import json
from collections import Counter

import pytest

from foleyray.cli.configs import read_entries
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.search.config import SearchConfig
from foleyray.search.results import read_winners
from foleyray.search.run import aim_of
from foleyray.search.starts import check_starts, crossed
from foleyray.search.table import ENSEMBLE, MOST_COLUMNS, results_of, write_results
from foleyray.search.trial import start
from tests.search.test_budget import by_class, run
from tests.search.test_search import Scene
from tests.search.toy_noise import CLASSES, SYSTEM, entry, trained, write_store

PAPER = ({"tilt": (0.25, 0.5, 0.75, 1, 1.25, 1.5)}, {"tilt": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)})
"""The VIFS paper's noise scales, coarse and fine."""
OWN = {"tilt": 1.0, "repeats": 1, "polarity": "up"}


def test_the_papers_grid_is_sixty_points():
    points = crossed(PAPER, OWN, {"base": 3, "noise": 6})
    assert len(points) == 60 and points[0] == OWN | {"noise_age": 0, "tilt": 0.25}
    assert Counter(point["noise_age"] for point in points) == dict.fromkeys(range(6), 10)
    assert {point["repeats"] for point in points} == {1} and not any("base_age" in point for point in points)
    assert len(crossed(PAPER, OWN, {"noise": 1})) == 10


def test_the_vifs_papers_selection_is_a_shipped_config():
    (own,) = read_entries(["systems/vifs/paper_grid.yaml"], [])
    check_starts(own.system, own.settings, DCASE7)
    points = crossed(own.settings.grid, start(own.system.params, {"vifs": 6}), {"vifs": own.settings.checkpoints})
    assert len(points) == 60 and {point["sap_scale"] for point in points} == {1.0}
    kept = own.config.training["vifs"].keep
    assert [step for step in range(370_001) if kept.holds(step)] == list(range(270_000, 370_001, 20_000))


def test_parameters_are_crossed_with_one_another():
    points = crossed(({"tilt": (0.5, 1.5), "polarity": ("up", "down")},), OWN, {"noise": 1})
    assert [(point["tilt"], point["polarity"]) for point in points] == [
        *((0.5, "up"), (0.5, "down"), (1.5, "up"), (1.5, "down"))
    ]


def test_a_grid_is_tried_once_whole_and_by_nothing_else(tmp_path):
    """Whatever `trials` says, also where it was interrupted."""
    settings = SearchConfig(trials=2, clips=4, rungs=3, grid=({"tilt": (0.5, 1.5)}, {"tilt": (1.5, 2), "repeats": (2,)}))
    assert settings.rung_clips == (4,)
    first, last = run(tmp_path, settings, most=5), run(tmp_path, settings)
    tried = by_class(first + last)
    wanted = [(0.5, 1), (1.5, 1), (1.5, 2), (2.0, 2)]
    for name in CLASSES.names:
        found = [(candidate, params["tilt"], params["repeats"]) for candidate, params in tried[name]]
        assert sorted(found) == sorted((candidate, *point) for candidate in (0, 1) for point in wanted)
    assert run(tmp_path, settings) == []


def test_grids_that_cannot_be_tried_are_refused():
    def check(*grid):
        check_starts(SYSTEM, SearchConfig(grid=grid), CLASSES)

    check({"tilt": (0.5, 2)}, {"repeats": (1, 3), "polarity": ("down",)}, {})
    with pytest.raises(UserError, match=r"search.grid of noise: 'tild' is not a known setting \(did you mean 'tilt'\?\)"):
        check({"tild": (1.0,)})
    with pytest.raises(UserError, match=r"search.grid of noise: 'tilt' is 2.5: .*less than or equal to 2"):
        check({"tilt": (0.5, 2.5)})
    with pytest.raises(UserError, match=r"search.grid of noise: 'polarity' is 'left'"):
        check({"polarity": ("up", "left")})
    with pytest.raises(UserError, match=r"'grid.0.tilt' is \[\]: .*at least 1 item"):
        SearchConfig.parse({"grid": [{"tilt": []}]}, "here")
    with pytest.raises(UserError, match="a grid names all points that are tried, so starts add nothing"):
        SearchConfig.parse({"grid": [{"tilt": [1]}], "starts": {"all": [{"tilt": 1}]}}, "here")


def test_a_grid_has_studies_of_its_own(tmp_path):
    store, found = write_store(tmp_path / "store"), trained(tmp_path / "train")
    names = {
        aim_of(entry(SearchConfig(grid=grid, checkpoints=None)), found, store, None).name
        for grid in ((), PAPER, PAPER[:1], PAPER[::-1])
    }
    assert len(names) == 4


def test_all_checkpoints_may_take_part(tmp_path):
    aim = aim_of(entry(SearchConfig(checkpoints=None)), trained(tmp_path / "train"), write_store(tmp_path / "store"), None)
    assert aim.candidates.num_ages == {"base": 3, "noise": 3}
    assert [step.card.step for step in aim.candidates.stages["noise"]] == [30, 20, 10]


@pytest.mark.ray
def test_a_grid_on_ray_has_winners_and_a_table(tmp_path, ray_session):
    scene = Scene(tmp_path)
    grid = ({"tilt": (0.25, 0.75)}, {"tilt": (0.75, 1.25)})
    winners = scene.search(SearchConfig(clips=4, checkpoints=2, grid=grid))
    rows = scene.trials()
    assert Counter(row["class"] for row in rows) == dict.fromkeys(CLASSES.names, 6)
    assert {(row["clips"], row["stopped"], len(row["rungs"])) for row in rows} == {(4, False, 1)}
    assert {row["params"]["tilt"] for row in rows} == {0.25, 0.75, 1.25}
    assert read_winners(scene.out, CLASSES) == winners
    assert (winners["Dull"].params["tilt"], winners["Bright"].params["tilt"]) == (1.25, 0.25)
    with (scene.out / "results-noise.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["class"] for line in table] == [*CLASSES.names, "mean"]
    names = [f"noise {step}, tilt {tilt}" for step in (20, 30) for tilt in (0.25, 0.75, 1.25)]
    assert list(table[0]) == ["class", *names, ENSEMBLE]
    for line in table[:-1]:
        own = [row["fad"] for row in rows if row["class"] == line["class"]]
        assert float(line[ENSEMBLE]) == min(own) == winners[line["class"]].fad
        assert sorted(float(value) for value in list(line.values())[1:-1]) == sorted(own)
    assert float(table[-1][ENSEMBLE]) == pytest.approx(sum(winner.fad for winner in winners.values()) / 2)


def row(name, trial, step, scale, fad, system="noise", stopped=False):
    checkpoints = {"base": "base/00c0ffee/step-000000005", "noise": f"noise/00c0ffee/step-{step:09d}"}
    params = {"scale": scale, "polarity": "up"}
    return {
        "class": name,
        "system": system,
        "trial": trial,
        "checkpoints": checkpoints,
        "params": params,
        "fad": fad,
        "clips": 4 if stopped else 8,
        "stopped": stopped,
    }


def write(folder, rows):
    (folder / "trials.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_few_columns_of_many_the_winners_of_classes_among_them(tmp_path):
    """Of 20 whole combinations: the winners of both classes, then the best means; in the order of step and parameter."""
    points = [(step, scale / 10) for step in (10, 20) for scale in range(10)]
    fads = {"Dull": lambda at: 5 + at, "Bright": lambda at: 50 - 2 * at if at != 3 else 60.0}
    write(tmp_path, [row(name, at, *point, fad(at)) for name, fad in fads.items() for at, point in enumerate(points)])
    (results,) = results_of(tmp_path)
    assert (results.clips, results.classes, len(results.columns)) == (8, ("Dull", "Bright"), MOST_COLUMNS)
    names = [column.name for column in results.columns]
    assert names == ["noise 10, scale 0", *(f"noise 20, scale {scale / 10:.3g}" for scale in range(3, 10))]
    assert results.best == {"Dull": 5.0, "Bright": 12.0}
    assert results.mean(results.columns[0]) == pytest.approx((5 + 50) / 2)


def test_what_a_class_has_not_tried_whole_is_left_open(tmp_path):
    rows = [row(name, 0, 30, 1.0, 9.0) for name in CLASSES.names]
    rows += [row("Dull", 1, 20, 0.123456, 4.0), row("Bright", 1, 10, 0.9, 3.0), row("Dull", 2, 30, 0.5, 1.0, stopped=True)]
    rows += [row("Bright", 2, 30, 0.2, None), row("Dull", 3, 30, 0.3, 8.0), row("Dull", 0, 40, 1.0, 7.0, system="twin")]
    write(tmp_path, rows)
    write_results(tmp_path)
    assert (tmp_path / "results-noise.csv").read_text().splitlines() == [
        'class,"noise 10, scale 0.9","noise 20, scale 0.123","noise 30, scale 1",ensemble',
        "Dull,,4.0,9.0,4.0",
        "Bright,3.0,,9.0,3.0",
        "mean,,,9.0,3.5",
    ]
    assert (tmp_path / "results-twin.csv").read_text().startswith('class,"base 5, noise 40, scale 1, polarity up",ensemble\n')
    write(tmp_path, rows[:2])
    write_results(tmp_path)
    assert [file.name for file in tmp_path.glob("*.csv")] == ["results-noise.csv"]


def test_a_system_without_any_distance_has_no_table(tmp_path):
    write(tmp_path, [row("Dull", 0, 30, 1.0, None)])
    assert results_of(tmp_path) == [] and results_of(tmp_path / "nowhere") == []
