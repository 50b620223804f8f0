"""Sheets that come back wrong: each is refused in one sentence, and none gives a number."""

import csv
import json

import pytest

from foleyray.config import UserError
from foleyray.listening.key import save_key
from foleyray.listening.ratings import COLUMNS
from foleyray.listening.table import was_table
from tests.listening.evalsets import sheet_of, write_sheet

SCORES = {"quality": 8, "fit": 6, "diversity": 4}


@pytest.fixture
def sheet(key) -> dict:
    return sheet_of(key, "anna", {"quince": SCORES, "medlar": SCORES})


@pytest.fixture
def folder(tmp_path, key):
    save_key(tmp_path / "listen.key.json", key)
    return tmp_path


def write_csv(file, *sheets, key):
    with file.open("w", newline="", encoding="utf-8-sig") as target:
        rows = csv.writer(target)
        rows.writerow(COLUMNS)
        for sheet in sheets:
            given = {(rating["item"], rating["scale"]): rating for rating in sheet["ratings"]}
            for item, scales in key.scales_of.items():
                for scale in scales:
                    rating = given.get((item, scale), {"value": "", "time": ""})
                    rows.writerow([sheet["page"], sheet["rater"], item, scale, rating["value"], rating["time"]])
    return file


def test_csv_and_json_say_the_same(folder, key, sheet):
    del sheet["ratings"][5:]
    sheet["missing"] = 15
    tables = [
        was_table([file], key=None, seed=0)
        for file in (write_sheet(folder, sheet), write_csv(folder / "ratings-anna.csv", sheet, key=key))
    ]
    assert tables[0] == tables[1] and tables[0].num_ratings == 5


def test_a_csv_of_several_listeners(folder, key, sheet):
    file = write_csv(folder / "all.csv", sheet, {**sheet, "rater": "ben"}, key=key)
    assert was_table([file], key=None, seed=0).raters == ("anna", "ben")


def other_page(sheet):
    sheet["page"] = "00000000"


def unknown_item(sheet):
    sheet["ratings"][0]["item"] = "c999"


def diversity_of_a_clip(sheet):
    sheet["ratings"][0]["scale"] = "diversity"


def eleven(sheet):
    sheet["ratings"][0]["value"] = 11


def zero(sheet):
    sheet["ratings"][0]["value"] = 0


def half(sheet):
    sheet["ratings"][0]["value"] = 7.5


def truth(sheet):
    sheet["ratings"][0]["value"] = True


def twice(sheet):
    sheet["ratings"][1] = dict(sheet["ratings"][0])


def cut_off(sheet):
    del sheet["ratings"][0]


def loudness(sheet):
    sheet["ratings"][0]["scale"] = "loudness"


def nameless(sheet):
    sheet["rater"] = ""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_page, "rates page 00000000, the key is of page"),
        (unknown_item, "scores quality of 'c999', which page"),
        (diversity_of_a_clip, "scores diversity of 'c001'"),
        (eleven, r"'ratings.0.value' is 11: .*less than or equal to 10"),
        (zero, r"'ratings.0.value' is 0"),
        (half, r"'ratings.0.value' is 7.5"),
        (truth, r"'ratings.0.value' is True"),
        (twice, "twice by 'anna'"),
        (cut_off, "owns to 0 missing scores by 'anna', but 1 of 20 are"),
        (loudness, r"'ratings.0.scale' is 'loudness'"),
        (nameless, "'rater' is ''"),
    ],
)
def test_refuses_a_spoilt_sheet(folder, sheet, spoil, words):
    spoil(sheet)
    file = write_sheet(folder, sheet)
    with pytest.raises(UserError, match=words):
        was_table([file], key=folder / "listen.key.json", seed=0)


@pytest.mark.parametrize("value", ["11", "0", "7.5", "-3", "good", "1e1", "٣٤"])
def test_refuses_spoilt_values_in_csv(folder, key, sheet, value):
    sheet["ratings"][0]["value"] = value
    with pytest.raises(UserError, match=r"ratings\.0\.value"):
        was_table([write_csv(folder / "ratings.csv", sheet, key=key)], key=None, seed=0)


def test_refuses_the_same_listener_twice(folder, sheet):
    one, two = write_sheet(folder, sheet), folder / "again.json"
    two.write_text(json.dumps({**sheet, "rater": " Anna"}))
    with pytest.raises(UserError, match=r"rater ' Anna' is in .*ratings-anna.json and .*again.json"):
        was_table([one, two], key=None, seed=0)
    with pytest.raises(UserError, match=r"ratings-anna\.json twice"):
        was_table([one, one], key=None, seed=0)


def test_refuses_a_missing_wrong_or_doubtful_key(folder, key, sheet):
    file = write_sheet(folder, sheet)
    (folder / "copy.key.json").write_bytes((folder / "listen.key.json").read_bytes())
    assert was_table([file], key=None, seed=0).page == key.page
    names = {name: found.model_copy(update={"system": f"not {found.system}"}) for name, found in key.sets.items()}
    (folder / "copy.key.json").write_text(key.model_copy(update={"sets": names}).model_dump_json())
    with pytest.raises(UserError, match="several keys claim page"):
        was_table([file], key=None, seed=0)
    for path in folder.glob("*.key.json"):
        path.unlink()
    with pytest.raises(UserError, match=f"no key of page {key.page}"):
        was_table([file], key=None, seed=0)
    with pytest.raises(UserError, match="cannot be read"):
        was_table([file], key=folder / "gone.key.json", seed=0)
    with pytest.raises(UserError, match="is not a key of foleyray listen"):
        was_table([file], key=file, seed=0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ratings.json", b"{", "is not a sheet of ratings"),
        ("ratings.json", b"\xff\xfe\x00", "is no text"),
        ("ratings.txt", b"", "ends in '.txt'"),
        ("ratings.csv", b"", "does not hold rows of page,rater"),
        ("ratings.csv", b"a,b\r\n1,2\r\n", "does not hold rows of page,rater"),
        ("ratings.csv", b"page,rater,item,scale,value,time\r\np,r,c001\r\n", "line 2: expected 6 values"),
    ],
)
def test_refuses_files_that_are_no_sheets(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        was_table([tmp_path / name], key=None, seed=0)


def test_refuses_nothing_at_all(folder, key):
    with pytest.raises(UserError, match="no ratings to read"):
        was_table([], key=None, seed=0)
    with pytest.raises(UserError, match="cannot be read"):
        was_table([folder / "gone.json"], key=None, seed=0)
    empty = write_sheet(folder, {"page": key.page, "rater": "anna", "missing": 20, "ratings": []})
    with pytest.raises(UserError, match=r"no sheet of page .* holds a score"):
        was_table([empty], key=None, seed=0)
