"""Columns of several stages joined into one store: rows stay together, nothing is made twice, a mismatch is refused."""

import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from foleyray.config import UserError
from foleyray.corpus.codes import join_columns
from foleyray.corpus.store import SPLITS, open_store
from foleyray.progress import Quiet
from foleyray.sampling import SamplingParams
from foleyray.system import System
from foleyray.train.run import train
from tests.train import toy
from tests.train.toy_codes import Coder, CodesConfig, Reader, config


@dataclass(frozen=True)
class Louder(Coder):
    """A second column: the mean of each band, not rounded."""

    name: str = "louder"
    makes: str = "means"

    def encode(self, nets, batch):
        return nets["gain"](batch["mel"]).mean(dim=2)


@dataclass(frozen=True)
class ReaderOfBoth(Reader):
    reads: tuple[str, ...] = ("means", "codes")
    needs: tuple[str, ...] = ("coder", "louder")

    def loss(self, turn, nets, batch, step):
        assert batch["means"].dtype == torch.float32 and batch["codes"].dtype == torch.int64
        rounded = batch["means"].round().clamp(-8, 7).long()
        return super().loss(turn, nets, {"codes": batch["codes"], "label": (rounded[:, 0] > 0).long()}, step)


def stages(config: CodesConfig, classes):
    return Coder(identity=config.coder), Louder(identity=config.coder), ReaderOfBoth(config=config)


BOTH = System("codes", CodesConfig, SamplingParams, stages, toy.sampler, lambda config: ("coder", "louder", "reader"))


@pytest.fixture
def store(tmp_path):
    return toy.write_store(tmp_path / "store", num_clips=48)


def run(store, out, **settings):
    plain = config(**settings)
    both = plain.model_copy(update={"training": plain.training | {"louder": plain.training["coder"]}})
    return train(BOTH, both, store, out, workers=0, progress=Quiet())


def only(folder):
    (found,) = folder.iterdir()
    return found


def test_a_stage_learns_from_two_columns_whose_rows_stay_together(store, tmp_path):
    found = run(store, tmp_path)
    joined = open_store(only(tmp_path / "codes-means"))
    assert joined.columns == ("id", "label", "codes", "means") and joined.fingerprint == store.fingerprint
    assert {name: made.made_by for name, made in joined.card.made.items()} == {
        "codes": found["coder"][-1].id,
        "means": found["louder"][-1].id,
    }
    for split in SPLITS:
        rows, clips = joined.read(split, joined.columns), store.read(split, ["id", "label"])
        assert rows["id"].tolist() == clips["id"].tolist() and np.array_equal(rows["label"], clips["label"])
        for column in ("codes", "means"):
            alone = open_store(only(tmp_path / column)).read(split, [column])[column]
            assert np.array_equal(rows[column], alone) and rows[column].dtype == alone.dtype
        assert (rows["codes"].dtype, rows["means"].dtype) == (np.int16, np.float32)
    assert found["reader"][-1].card.step == 20


def test_the_join_is_made_once_and_goes_on_where_it_was_cut_off(store, tmp_path):
    run(store, tmp_path)
    folder = only(tmp_path / "codes-means")
    made = {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")}
    run(store, tmp_path, width=5)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")} == made
    (folder / "store.json").unlink()
    shutil.rmtree(folder / "reference")
    run(store, tmp_path, width=6)
    again = {file: file.stat().st_mtime_ns for file in folder.rglob("*.parquet")}
    assert again.keys() == made.keys() and [f.parent.name for f in made if again[f] != made[f]] == ["reference"]


def test_columns_of_other_clips_are_refused(store, tmp_path):
    run(store, tmp_path)
    parts = [open_store(only(tmp_path / column)) for column in ("codes", "means")]
    (file,) = parts[1].files("train")
    table = pq.read_table(file)
    pq.write_table(table.take(list(reversed(range(len(table))))), file)
    with pytest.raises(UserError, match="hold different clips"):
        join_columns(parts, tmp_path / "joined")
    assert not (tmp_path / "joined" / "store.json").exists()
