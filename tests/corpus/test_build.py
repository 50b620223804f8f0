import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest

from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.corpus import build as build_module
from foleyray.corpus.build import build
from foleyray.corpus.store import SPLITS, open_store
from foleyray.progress import Quiet
from tests.corpus.recordings import CLIP, MEL, decode_draft, make_store, write_corpus, write_noise
from tests.shared import SHARED, needs_shared


class Said(Quiet):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def no_ray():
    raise AssertionError("Ray was asked for")


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setattr(build_module, "connected", no_ray)


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "wav", {"Rain": 20, "Hail": 10})


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_store_says_what_it_is(tmp_path, corpus, without_ray):
    store = make_store(corpus, tmp_path / "store")
    assert store.counts == {
        "train": {"Hail": 6, "Rain": 16},
        "reference": {"Hail": 2, "Rain": 2},
        "held_out": {"Hail": 2, "Rain": 2},
    }
    assert sorted(path.name for path in store.path.iterdir()) == sorted(
        [*SPLITS, "manifest.jsonl", "rejected.jsonl", "store.json"]
    )
    assert [row["path"] for row in store.manifest] == sorted(row["path"] for row in store.manifest)
    first = store.manifest[0]
    assert first | {"hash": "", "split": ""} == {
        "id": "Hail_0", "path": "Hail/Hail_0.wav", "class": "Hail", "split": "", "recording": "Hail/Hail_0.wav", "caption": "",
        "warning": "", "seconds": 0.5, "how": "whole", "gain": 1.0, "hash": "",
    }  # fmt: skip
    for split in SPLITS:
        rows = store.read(split, ["id", "label"])
        assert Counter(store.classes.names[label] for label in rows["label"]) == store.counts[split]
        assert {row["id"] for row in store.manifest if row["split"] == split} == set(rows["id"].tolist())


def test_asking_again_does_no_work(tmp_path, corpus, without_ray):
    make_store(corpus, tmp_path / "store")
    before, progress = snapshot(tmp_path), Said()
    store = build(str(corpus), tmp_path / "store", clip=CLIP, mel=MEL, max_rejected=0.0, progress=progress)
    assert snapshot(tmp_path) == before and store.num_clips("train") == 22
    assert "already holds this corpus" in progress.sentences[0]


def test_the_fingerprint_is_of_the_sounds_not_of_the_place(tmp_path, corpus, without_ray):
    first = make_store(corpus, tmp_path / "one")
    shutil.copytree(corpus, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "Rain" / "Rain_0.wav", (0, 0))
    second = make_store((tmp_path / "elsewhere").as_uri(), tmp_path / "two")
    assert second.fingerprint == first.fingerprint and second.card.listing != first.card.listing
    write_noise(corpus / "Rain" / "Rain_0.wav", 999)
    assert make_store(corpus, tmp_path / "three").fingerprint != first.fingerprint


def test_an_output_that_holds_something_else_is_left_alone(tmp_path, corpus, without_ray):
    make_store(corpus, tmp_path / "store")
    before = snapshot(tmp_path / "store")
    write_noise(corpus / "Rain" / "new.wav", 77)
    longer = CLIP.model_copy(update={"seconds": 1.0})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    for out, clip, said in (
        ("store", CLIP, "which is not what"),
        ("store", longer, "was made with another clip or mel specification"),
        ("notes", CLIP, "exists and is no store"),
        ("notes/a.txt", CLIP, "exists and is no store"),
        ("wav/store", CLIP, "lies inside the corpus"),
    ):
        with pytest.raises(UserError) as caught:
            build(str(corpus), tmp_path / out, clip=clip, mel=MEL, max_rejected=0.0, progress=Quiet())
        assert said in str(caught.value)
    assert snapshot(tmp_path / "store") == before and not (corpus / "store").exists()


def test_an_empty_folder_may_be_the_output(tmp_path, corpus, without_ray):
    (tmp_path / "store").mkdir()
    assert make_store(corpus, tmp_path / "store").num_clips("train") == 22


@pytest.mark.parametrize(
    ("clip", "mel", "share", "said"),
    [
        (ClipSpec(), MEL, 0.0, "the clip has 22050 Hz and the mel 8000 Hz"),
        (CLIP.model_copy(update={"seconds": 0.01}), MEL, 0.0, "shorter than one mel window"),
        (CLIP, MEL, 5, "is no share from 0 to 1; for 5 % give 0.05"),
    ],
)
def test_settings_that_are_refused(tmp_path, corpus, without_ray, clip, mel, share, said):
    with pytest.raises(UserError, match=said):
        build(str(corpus), tmp_path / "store", clip=clip, mel=mel, max_rejected=share, progress=Quiet())


def spoil(corpus) -> None:
    """Of 30 files: one empty, one silent, a copy inside the class and one in the other."""
    (corpus / "Rain" / "Rain_3.wav").write_bytes(b"")
    write_noise(corpus / "Rain" / "Rain_4.wav", 0, level=0.0)
    shutil.copy(corpus / "Rain" / "Rain_0.wav", corpus / "Rain" / "Rain_9.wav")
    shutil.copy(corpus / "Hail" / "Hail_0.wav", corpus / "Rain" / "Rain_8.wav")


def test_rejected_files_are_named_and_leave_no_trace(tmp_path, corpus, without_ray):
    spoil(corpus)
    write_noise(corpus / "stray.wav", 5)
    store = make_store(corpus, tmp_path / "store", max_rejected=0.2)
    assert {row["path"]: (row["class"], row["kind"], row.get("twin")) for row in store.rejected} == {
        "Rain/Rain_3.wav": ("Rain", "undecodable", None),
        "Rain/Rain_4.wav": ("Rain", "silent", None),
        "Rain/Rain_8.wav": ("Rain", "duplicate", "Hail/Hail_0.wav"),
        "Rain/Rain_9.wav": ("Rain", "duplicate", "Rain/Rain_0.wav"),
        "stray.wav": ("", "misplaced", None),
    }
    assert store.rejected[2]["reason"] == "duplicate of Hail/Hail_0.wav, which is in the class Hail"
    assert store.card.rejected == {"duplicate": 2, "misplaced": 1, "silent": 1, "undecodable": 1}
    assert (
        store.summary()
        .sentence()
        .startswith("5 rejected (2 are duplicates, 1 is misplaced, 1 is silent, 1 does not decode), see")
    )
    held = {id for split in SPLITS for id in store.read(split, ["id"])["id"].tolist()}
    assert len(held) == 26 == len(store.manifest) and held == {row["id"] for row in store.manifest}
    assert {split: store.num_clips(split) for split in SPLITS} == {
        split: len(store.read(split, ["id"])["id"]) for split in SPLITS
    }


def test_too_many_rejected_files_leave_only_their_list(tmp_path, corpus, without_ray):
    spoil(corpus)
    with pytest.raises(UserError) as caught:
        make_store(corpus, tmp_path / "store", max_rejected=0.05)
    report = tmp_path / "store.rejected.jsonl"
    assert str(caught.value) == (
        "4 of 30 files were rejected (2 are duplicates, 1 is silent, 1 does not decode): 13.3%, more than 5.0%; "
        f"mend the files listed in {report}, or allow more with --max-rejected 0.14"
    )
    assert len(report.read_text().splitlines()) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.rejected.jsonl", "wav"]
    make_store(corpus, tmp_path / "store", max_rejected=0.14)
    assert not report.exists() and (tmp_path / "store" / "rejected.jsonl").exists()


def test_classes_and_corpora_without_a_usable_file_are_refused(tmp_path, corpus, without_ray):
    write_noise(corpus / "Mute" / "a.wav", 0, level=0.0)
    with pytest.raises(UserError, match="no file of the class Mute can be used; mend its files, listed in"):
        make_store(corpus, tmp_path / "store", max_rejected=0.5)
    shutil.rmtree(corpus / "Rain")
    shutil.rmtree(corpus / "Hail")
    with pytest.raises(UserError, match=r"none of the 1 files can be used \(1 is silent\)"):
        make_store(corpus, tmp_path / "store", max_rejected=1.0)
    assert not (tmp_path / "store").exists()


def test_tables_bring_captions_recordings_and_splits(tmp_path, without_ray):
    lines = ["path,class,caption,source,split"]
    for number in range(12):
        write_noise(tmp_path / f"{number}.wav", number)
        lines.append(
            f"{number}.wav,{'Rain' if number % 2 else 'Hail'},drop {number},r{number // 4},{'eval' if number > 7 else 'train'}"
        )
    (tmp_path / "m.csv").write_text("\n".join([*lines, "0.wav,Hail,drop 0,r0,train", "gone.wav,Rain,,,"]))
    store = make_store(tmp_path / "m.csv", tmp_path / "store", max_rejected=0.2)
    assert {row["path"]: row["reason"] for row in store.rejected} == {
        "0.wav": "duplicate: the file is listed twice",
        "gone.wav": "unreadable: there is no such file",
    }
    assert store.manifest[3]["caption"] == "drop 3" and store.manifest[3]["recording"] == "r0"
    splits = {row["path"]: row["split"] for row in store.manifest}
    assert all((splits[f"{number}.wav"] == "train") == (number < 8) for number in range(12))


def test_small_classes_are_taken_in_and_told_of(tmp_path, without_ray):
    store = make_store(write_corpus(tmp_path / "wav", {"train/Rain": 3, "eval/Rain": 1, "train/Hail": 2}), tmp_path / "store")
    assert store.card.notes == (
        "Hail came with training clips only; its reference and held_out clips were drawn from them",
        "Hail has no clip in held_out; it needs recordings from more sources",
        "Rain has no clip in held_out; it needs recordings from more sources",
    )
    assert store.read("held_out", ["wave", "id"])["wave"].shape == (0, CLIP.num_samples)


def test_interrupted_work_goes_on_where_it_stopped(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "wav", {"Rain": 50, "Hail": 50})
    decode_draft(corpus, tmp_path / "store", first=2)
    (draft,) = tmp_path.glob(".store.*.part")
    assert sorted(file.name for file in (draft / "outcomes").iterdir()) == ["000000.jsonl", "000001.jsonl"]
    (draft / "train" / ".000003.parquet.77.part").parent.mkdir(exist_ok=True)
    (draft / "train" / ".000003.parquet.77.part").write_bytes(b"half")
    done = snapshot(draft / "outcomes")
    decode_draft(corpus, tmp_path / "store")
    assert {path: time for path, time in snapshot(draft / "outcomes").items() if path in done} == done
    monkeypatch.setattr(build_module, "connected", no_ray)
    store = build(str(corpus), tmp_path / "store", clip=CLIP, mel=MEL, max_rejected=0.0, progress=Quiet())
    assert {split: store.num_clips(split) for split in SPLITS} == {"train": 80, "reference": 10, "held_out": 10}
    assert not draft.exists() and not list(store.path.glob("*/.*"))


def test_a_draft_of_another_corpus_is_cleaned_away(tmp_path, corpus, without_ray):
    decode_draft(corpus, tmp_path / "store", first=1)
    write_noise(corpus / "Rain" / "new.wav", 77)
    make_store(corpus, tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "wav"]


@pytest.mark.ray
def test_ray_makes_the_same_store(tmp_path, ray_session):
    corpus = write_corpus(tmp_path / "wav [x] é", {"Rain": 40, "Hail": 30})
    spoil(corpus)
    there = build(corpus.as_uri(), tmp_path / "ray", clip=CLIP, mel=MEL, max_rejected=0.2, progress=Quiet())
    here = make_store(corpus, tmp_path / "here", max_rejected=0.2)
    assert there.fingerprint == here.fingerprint and there.manifest == here.manifest and there.rejected == here.rejected
    for split in SPLITS:
        for name, column in there.read(split, ["id", "wave", "mel"]).items():
            assert np.array_equal(column, here.read(split, [name])[name])


@needs_shared
@pytest.mark.ray
def test_messy_files(tmp_path, ray_session):
    source = str(SHARED / "data" / "messy" / "manifest.csv")
    with pytest.raises(UserError, match="6 of 24 files were rejected"):
        build(source, tmp_path / "store", clip=ClipSpec(), mel=MelSpec(), max_rejected=0.05, progress=Quiet())
    build(source, tmp_path / "store", clip=ClipSpec(), mel=MelSpec(), max_rejected=0.5, progress=Quiet())
    store = open_store(tmp_path / "store")
    assert store.classes == DCASE7 and sum(store.num_clips(split) for split in SPLITS) == 18 == len(store.manifest)
    rejected = [json.loads(line) for line in (store.path / "rejected.jsonl").read_text().splitlines()]
    assert {row["path"]: (row["kind"], row.get("twin")) for row in rejected} == {
        "cough_broken_in_the_wild.mp3": ("undecodable", None),
        "zero_bytes.wav": ("undecodable", None),
        "not_audio.wav": ("undecodable", None),
        "silence.wav": ("silent", None),
        "chien_été.mp3": ("duplicate", "dog-barking-24k.mp3"),
        "really_an_ogg.wav": ("duplicate", "handgun_48k.ogg"),
    }
    assert [row["path"] for row in store.manifest if row["warning"]] == ["truncated.wav"] and store.card.warnings == 1


@needs_shared
@pytest.mark.ray
def test_foley7(tmp_path, ray_session):
    source = SHARED / "data" / "foley7"
    store = build(str(source), tmp_path / "store", clip=ClipSpec(), mel=MelSpec(), max_rejected=0.0, progress=Quiet())
    assert list(store.counts["train"].values()) == [34, 76, 37, 93, 76, 66, 84]
    halves = list(zip(store.counts["reference"].values(), store.counts["held_out"].values(), strict=True))
    assert [sum(half) for half in halves] == [6, 14, 8, 21, 13, 15, 18] and all(abs(a - b) <= 1 for a, b in halves)
    assert not store.rejected and not store.card.notes and store.classes == DCASE7
    places: dict[str, set[str]] = {}
    for row in store.manifest:
        places.setdefault(row["recording"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in places.values()) and 300 < len(places) < 500
