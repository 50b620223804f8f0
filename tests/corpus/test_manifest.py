import json
import os
import shutil
from pathlib import Path

import pytest

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.corpus.manifest import class_list, clip_ids, read_manifest
from tests.corpus.recordings import CLIP, MEL, write_corpus, write_noise
from tests.shared import SHARED, needs_shared


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def table(folder: Path, text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> str:
    (folder / name).write_text(text, encoding=encoding)
    return str(folder / name)


def test_folders_are_classes(tmp_path):
    touch(tmp_path, "wood door/a.wav", "Bell/b.flac", "Bell/deep/er/c.ogg")
    manifest = read_manifest(str(tmp_path))
    assert manifest.classes.names == ("Bell", "wood door")
    assert [(row.path, row.class_name, row.label) for row in manifest.rows] == [
        ("Bell/b.flac", "Bell", 0),
        ("Bell/deep/er/c.ogg", "Bell", 0),
        ("wood door/a.wav", "wood door", 1),
    ]


def test_dcase_folders_take_its_names_and_order(tmp_path):
    touch(
        tmp_path,
        *(f"{name}/1.wav" for name in ("sneeze_cough", "Gunshots", "rain", "Dog Bark", "Typing", "footsteps", "motor")),
    )
    manifest = read_manifest(str(tmp_path))
    assert manifest.classes == DCASE7
    assert {row.path: row.label for row in manifest.rows}["Gunshots/1.wav"] == DCASE7.index("GunShot")


def test_some_of_the_dcase_classes_keep_their_order():
    assert class_list({"Rain", "dog"}).names == ("DogBark", "Rain")
    assert class_list({"Rain", "dog"}).index("bark") == 0
    assert class_list({"Rain", "Trumpet", "dog"}).names == ("Rain", "Trumpet", "dog")


def test_split_folders_and_attribution(tmp_path):
    touch(tmp_path, "train/Rain/a.wav", "train/Rain/b.wav", "EVAL/Rain/c.wav", "validation/Rain/d.wav", "Held_Out/Rain/e.wav")
    table(tmp_path, "id,source_repository,original_path\na,repo,x/1.ogg\nb,repo,x/1.ogg\nc,repo,2.ogg\n", "ATTRIBUTION.csv")
    manifest = read_manifest(str(tmp_path))
    assert {row.path: (row.split, row.recording) for row in manifest.rows} == {
        "train/Rain/a.wav": ("train", "repo/x/1.ogg"),
        "train/Rain/b.wav": ("train", "repo/x/1.ogg"),
        "EVAL/Rain/c.wav": ("eval", "repo/2.ogg"),
        "validation/Rain/d.wav": ("validation", ""),
        "Held_Out/Rain/e.wav": ("held_out", ""),
    }
    assert manifest.remarks == ("2 of 5 files are not in ATTRIBUTION.csv; each counts as a recording of its own",)


def test_documents_and_hidden_files_are_passed_over_and_strays_are_not(tmp_path):
    touch(tmp_path, "Rain/a.wav", "Rain/b", "Rain/notes.txt", "Rain/.c.wav", ".git/d.wav", "README.md", "LICENSE", "stray.wav")
    assert {row.path: bool(row.refused) for row in read_manifest(str(tmp_path)).rows} == {
        "Rain/a.wav": False,
        "Rain/b": False,
        "stray.wav": True,
    }


def test_a_class_may_be_named_like_a_split(tmp_path):
    touch(tmp_path, "Train/a.wav", "Bus/b.wav")
    assert read_manifest(str(tmp_path)).classes.names == ("Bus", "Train")


@pytest.mark.parametrize(
    ("files", "folders", "said"),
    [
        (["Rain/a.wav"], ["Hail"], "the class 'Hail' is an empty folder"),
        (["train/Rain/a.wav"], ["train/Hail"], "the class 'Hail' is an empty folder"),
        (["Rain/a.wav", "Hail/README.md"], [], "the class 'Hail' is an empty folder"),
        (["train/Rain/a.wav", "Hail/b.wav"], [], "['train'] are named like splits, but ['Hail'] lie beside them"),
        (["a.wav"], [], "no folder in the corpus holds a file"),
        ([], [], "no folder in the corpus holds a file"),
        (["Rain/a.wav", "rain_/b.wav", "X/c.wav"], [], "two class names differ only in letter case or punctuation"),
        (["Été/a.wav"], [], "class name 'Été' must be"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, folders, said):
    touch(tmp_path, *files)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        read_manifest(str(tmp_path))
    assert said in str(caught.value)


def test_places_that_are_refused(tmp_path):
    touch(tmp_path, "one.wav", "Rain/a.wav")
    table(tmp_path, "file,label\n", "ATTRIBUTION.csv")
    for source, said in {
        str(tmp_path / "nowhere"): "nothing is there; expected a folder with one folder per class, or a table (.csv",
        str(tmp_path / "one.wav"): "it is a single file",
        "gopher://x/y": "is no address that can be read",
        "file:///a b": "is no address that can be read",
        str(tmp_path): "ATTRIBUTION.csv has the columns ['file', 'label'] but no ['id', 'source_repository', 'original_path']",
    }.items():
        with pytest.raises(UserError) as caught:
            read_manifest(source)
        assert said in str(caught.value), source


def test_file_names_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "Rain").mkdir()
    with open(os.fsencode(tmp_path) + b"/Rain/\xff.wav", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    with pytest.raises(UserError, match=r"\\xff.wav' is not UTF-8"):
        read_manifest(str(tmp_path))


ROWS = "a.wav,Rain,drops,r1,train\nsub/b.wav,Hail,,r2,TEST\nc.wav,Rain,,,\n"


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        (f"path,class,caption,source,split\n{ROWS}", "m.csv", "utf-8"),
        (f"Path;Class;Caption;Source;Split\r\n{ROWS.replace(',', ';')}", "m.CSV", "utf-8-sig"),
        ("\n".join(json.dumps(dict(zip(("path", "class", "caption", "source", "split"), row.split(","), strict=True)))
                   for row in ROWS.splitlines()), "m.jsonl", "utf-8"),
    ],
)  # fmt: skip
def test_tables(tmp_path, text, name, encoding):
    touch(tmp_path, "a.wav", "sub/b.wav")
    manifest = read_manifest(table(tmp_path, text, name, encoding))
    assert manifest.classes.names == ("Hail", "Rain")
    assert [(r.path, r.label, r.caption, r.recording, r.split, r.size) for r in manifest.rows] == [
        ("a.wav", 1, "drops", "r1", "train", 1),
        ("sub/b.wav", 0, "", "r2", "test", 1),
        ("c.wav", 1, "", "", "", -1),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,class\n/etc/a.wav,Rain\n", "manifest.csv, line 2: the path '/etc/a.wav' leaves the manifest's folder"),
        ("path,class\na.wav,Rain\nb/../../a.wav,Rain\n", "manifest.csv, line 3: the path 'b/../../a.wav' leaves"),
        ("path,class\nC:\\a.wav,Rain\n", "leaves the manifest's folder"),
        ("path,class\ns3://other/a.wav,Rain\n", "leaves the manifest's folder"),
        ("path,class\na.wav\n", "line 2 gives no class"),
        ("path,class\n,Rain\n", "line 2 gives no path"),
        ("file,class\na.wav,Rain\n", "has the columns ['file', 'class'] but no ['path']"),
        ("path,class,split\na.wav,Rain,trian\n", "unknown split 'trian' (did you mean 'train'?)"),
        ("path,class\n", "names no file"),
        ("", "has the columns [] but no ['path', 'class']"),
        ('path,class\na.wav,"Rain\x00\n' + "x" * 200_000, "is not CSV"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, said):
    with pytest.raises(UserError) as caught:
        read_manifest(table(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"path": "a.wav", "class": "Rain"}\n{"path": ', "line 2 is not JSON"),
        ('["a.wav", "Rain"]\n', "line 1 holds list"),
        ('{"path": "a.wav", "class": null}\n', "line 1 gives no class"),
    ],
)
def test_json_lines_that_are_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read_manifest(table(tmp_path, text, "manifest.jsonl"))


def test_a_table_that_is_not_text(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"path,class\n\xff\xfe.wav,Rain\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_manifest(str(tmp_path / "m.csv"))


def test_uris_read_folders_and_tables(tmp_path):
    write_noise(tmp_path / "sub" / "a.wav", 0)
    uri = tmp_path.as_uri()
    assert [row.path for row in read_manifest(f"{uri}/").rows] == ["sub/a.wav"]
    table(tmp_path, f"path,class\n{uri}/sub/a.wav,Rain\nsub//./a.wav,Rain\n")
    assert [(row.path, row.size > 0) for row in read_manifest(f"{uri}/manifest.csv").rows] == [("sub/a.wav", True)] * 2


def test_the_fingerprint_is_of_content_not_of_place(tmp_path):
    write_corpus(tmp_path / "a", {"Rain": 2, "Hail": 1})
    before = read_manifest(str(tmp_path / "a")).fingerprint(CLIP, MEL)
    shutil.move(tmp_path / "a", tmp_path / "b")
    manifest = read_manifest(str(tmp_path / "b"))
    assert manifest.fingerprint(CLIP, MEL) == before
    assert manifest.fingerprint(CLIP.model_copy(update={"seconds": 1.0}), MEL) != before
    write_noise(tmp_path / "b" / "Rain" / "Rain_1.wav", 9)
    assert read_manifest(str(tmp_path / "b")).fingerprint(CLIP, MEL) != before


def test_ids_are_unique_and_safe_as_file_names():
    paths = ["A/x.wav", "B/X.wav", "[.wav", "雨.wav", "dog bark (5 s).ogg", "chien_été.mp3", "a/same.wav", "a/same.wav"]
    ids = clip_ids(paths)
    assert len({id.casefold() for id in ids}) == len(ids)
    assert all(set(id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for id in ids)
    assert ids[4:6] == ["dog-bark-5-s", "chien_ete"]


@needs_shared
def test_foley7_is_understood():
    manifest = read_manifest(str(SHARED / "data" / "foley7"))
    assert manifest.classes == DCASE7 and len(manifest.rows) == 561 and not manifest.remarks
    assert all(row.recording and row.split in ("train", "eval") for row in manifest.rows)
    assert {row.id for row in manifest.rows} >= {"DogBark_0001", "SneezeCough_0002"} or len(
        {row.id for row in manifest.rows}
    ) == 561
