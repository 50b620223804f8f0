import json
import subprocess
import sys

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.corpus.store import COLUMNS, open_store
from tests.corpus.recordings import CLIP, MEL, make_store, write_corpus


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("[a] störe")
    return make_store(write_corpus(folder / "wav", {"Rain": 20, "Hail": 10}), folder / "store")


def test_a_split_is_read_whole_and_in_one_order(store):
    columns = store.read("train", COLUMNS)
    assert {name: (column.dtype.kind, column.shape[1:]) for name, column in columns.items()} == {
        "id": ("U", ()),
        "label": ("i", ()),
        "wave": ("i", (CLIP.num_samples,)),
        "mel": ("f", (MEL.bands, MEL.frames(CLIP.num_samples))),
    }
    assert columns["wave"].dtype == np.int16 and columns["mel"].dtype == np.float16
    assert store.counts["train"] == {"Hail": 6, "Rain": 16} and len(columns["id"]) == store.num_clips("train") == 22
    assert store.read("train", ["id"])["id"].tolist() == columns["id"].tolist()
    assert {row["id"] for row in store.manifest if row["split"] == "train"} == set(columns["id"].tolist())


def test_one_class_of_a_split(store):
    whole = store.read("reference", ["id", "label", "wave"])
    for label in (0, 1):
        part = store.read("reference", ["wave", "id"], label=label)
        assert list(part) == ["wave", "id"]
        assert np.array_equal(part["wave"], whole["wave"][whole["label"] == label])
        assert len(part["id"]) == store.num_clips("reference", label) == 2


def test_streams_are_bounded_batches(store):
    batches = list(store.stream("train", ["mel"], num_rows=5))
    assert max(len(batch["mel"]) for batch in batches) == 5
    assert np.array_equal(np.concatenate([batch["mel"] for batch in batches]), store.read("train", ["mel"])["mel"])


def test_rows_are_mixed(store):
    labels = store.read("train", ["label"])["label"].tolist()
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_reading_needs_no_ray(store):
    code = (
        "import sys; from foleyray.corpus.store import open_store;"
        f"rows = open_store({str(store.path)!r}).read('train', ['wave', 'mel']);"
        "print(rows['wave'].shape, rows['mel'].shape, sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"(22, {CLIP.num_samples}) (22, {MEL.bands}, {MEL.frames(CLIP.num_samples)}) []"


def test_the_summary_in_one_sentence(store):
    assert store.summary().sentence() == "no file rejected"


def test_wrong_words_are_named(store):
    with pytest.raises(UserError, match=r"no column 'mels' \(did you mean 'mel'\?\)"):
        store.read("train", ["mels"])
    with pytest.raises(UserError, match=r"no split 'test'.*; splits: train, reference, held_out"):
        store.read("test", ["mel"])


def write_card(folder, content: str):
    folder.mkdir(exist_ok=True)
    (folder / "store.json").write_text(content)
    return folder


def test_what_is_no_store_is_refused(store, tmp_path):
    card = json.loads((store.path / "store.json").read_text())
    for place, said in {
        tmp_path / "nowhere": "no store at",
        store.path / "store.json": "no store at",
        write_card(tmp_path / "a", "{"): "does not describe a store",
        write_card(tmp_path / "b", "[]"): "does not describe a store",
        write_card(
            tmp_path / "c", json.dumps({**card, "format": 2})
        ): "has format 2, and this foleyray reads format 1; update foleyray",
        write_card(tmp_path / "d", json.dumps({**card, "format": 0})): "build it again",
        write_card(tmp_path / "e", json.dumps({**card, "clip": {"seconds": -1}})): "'clip.seconds' is -1",
    }.items():
        with pytest.raises(UserError) as caught:
            open_store(place)
        assert said in str(caught.value)


@pytest.mark.ray
def test_ray_reads_the_same_clips(store, ray_session):
    rows = store.dataset("train", COLUMNS).take_all()
    wanted = store.read("train", COLUMNS)
    place = {id: index for index, id in enumerate(wanted["id"].tolist())}
    assert {row["id"] for row in rows} == set(place) and len(rows) == len(place)
    for row in rows:
        for name in ("label", "wave", "mel"):
            assert np.array_equal(row[name], wanted[name][place[row["id"]]])
    batch = next(iter(store.dataset("held_out", ["mel", "label"]).iter_torch_batches(batch_size=4)))
    assert batch["mel"].shape == (4, MEL.bands, MEL.frames(CLIP.num_samples))
