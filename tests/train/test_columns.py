"""A column that one stage makes and another learns from: what it remembers, when it is made, and by whom."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.corpus.feed import to_batch
from foleyray.corpus.store import SPLITS, open_store
from foleyray.train.job import Job
from foleyray.train.run import train
from tests.train import toy
from tests.train.toy import Said
from tests.train.toy_codes import SYSTEM, Coder, config


@pytest.fixture
def store(tmp_path):
    return toy.write_store(tmp_path / "store", num_clips=48)


def run(store, out, settings, workers=0):
    said = Said()
    return train(SYSTEM, settings, store, out, workers=workers, progress=said), said.sentences


def columns(out: Path) -> list[Path]:
    return sorted(path for path in (out / "codes").glob("*") if (path / "store.json").exists())


def check(store, out, coder):
    """The column is what the trained coder makes of every clip, in the store's order."""
    (folder,) = columns(out)
    made = open_store(folder)
    assert made.columns == ("id", "label", "codes") and made.fingerprint == store.fingerprint
    assert made.card.made["codes"].made_by == coder.id
    nets = coder.restore(Coder().build({})).eval()
    for split in SPLITS:
        rows, clips = made.read(split, made.columns), store.read(split, ["id", "label", "mel"])
        assert rows["id"].tolist() == clips["id"].tolist() and np.array_equal(rows["label"], clips["label"])
        with torch.no_grad():
            wanted = Coder().encode(nets, to_batch({"mel": torch.from_numpy(clips["mel"])}))
        assert rows["codes"].dtype == np.int16 and np.array_equal(rows["codes"], wanted.numpy())


def test_a_stage_learns_from_the_column_of_an_earlier_one(store, tmp_path):
    found, _ = run(store, tmp_path, config())
    check(store, tmp_path, found["coder"][-1])
    losses = [found["reader"][at].card.scores["validation/loss"] for at in (0, -1)]
    assert losses[1] < 0.7 * losses[0]


@pytest.mark.ray
def test_the_column_is_made_and_read_on_ray(store, tmp_path, ray_session):
    found, _ = run(store, tmp_path, config(), workers=1)
    check(store, tmp_path, found["coder"][-1])


def test_the_column_is_made_once_a_checkpoint_and_goes_on_where_it_was_cut_off(store, tmp_path):
    run(store, tmp_path, config())
    (folder,) = columns(tmp_path)
    made = {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")}
    run(store, tmp_path, config(width=5))
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")} == made
    run(store, tmp_path, config(coder_steps=30))
    assert len(columns(tmp_path)) == 2

    (folder / "store.json").unlink()
    shutil.rmtree(folder / "reference")
    run(store, tmp_path, config(width=6))
    again = {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")}
    assert again.keys() == made.keys()
    assert [file.parent.name for file in made if again[file] != made[file]] == ["reference"]


def test_a_shared_stage_is_trained_once_for_all_who_use_it(store, tmp_path):
    first, _ = run(store, tmp_path, config())
    second, said = run(store, tmp_path, config(width=5))
    assert first["coder"] == second["coder"] and first["reader"] != second["reader"]
    assert said == [f"coder is trained already: 20 steps in {first['coder'][0].path.parent}"]
    assert first["coder"][-1].card.system is None and first["reader"][-1].card.system == "codes"
    other, _ = run(store, tmp_path, config(scale=2.0))
    assert other["coder"] != first["coder"]


def test_the_stage_that_sounds_remembers_what_it_sounds_with(store, tmp_path):
    found, _ = run(store, tmp_path, config())
    assert found["reader"][-1].card.sounds_with == {"coder": found["coder"][-1].id}
    assert not found["coder"][-1].card.sounds_with


def test_a_store_says_which_columns_it_has(store, tmp_path):
    run(store, tmp_path, config())
    with pytest.raises(UserError, match=r"no column 'wave'.*columns: id, label, codes"):
        open_store(columns(tmp_path)[0]).read("train", ["wave"])


def test_a_job_is_named_apart_by_what_its_stage_learns_from(store, tmp_path):
    found, _ = run(store, tmp_path, config())
    jobs = [Job(SYSTEM, config(), store, "reader", {"coder": coder}, tmp_path) for coder in found["coder"]]
    assert len({job.run for job in jobs}) == len(jobs)
