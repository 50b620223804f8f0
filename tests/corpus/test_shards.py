import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import fs

from foleyray.audio.mel import Mel
from foleyray.audio.wav import to_float
from foleyray.clips import ClipSpec, MelSpec
from foleyray.corpus import shards
from foleyray.corpus.attempts import MAX_CRASHES, Attempts
from foleyray.corpus.rows import Row
from foleyray.corpus.store import SPLITS
from tests.corpus.recordings import CLIP, MEL, write_noise


@pytest.fixture
def draft(tmp_path):
    """Three clips and a missing file, decoded as one shard."""
    rows = [Row(f"{id}.wav", "x", id=id, label=label, size=1) for id, label in (("a", 0), ("b", 1), ("c", 0))]
    for seed, row in enumerate(rows):
        write_noise(tmp_path / "wav" / row.path, seed)
    block = shards.block_of(7, [*rows, Row("d.wav", "x", id="d", label=0)], ["train", "train", "held_out", "train"])
    draft = tmp_path / "draft"
    draft.mkdir()
    shards.done_shards(draft)
    counts = shards.decode_shard(block, fs.SubTreeFileSystem(str(tmp_path / "wav"), fs.LocalFileSystem()), draft, CLIP, MEL)
    assert {name: column.tolist() for name, column in counts.items()} == {"clips": [4], "rejected": [1]}
    return draft


def held(draft) -> dict[str, list[str]]:
    files = {split: shards.shard_file(draft, split, 7) for split in SPLITS}
    return {split: pq.read_table(file)["id"].to_pylist() for split, file in files.items() if file.exists()}


def test_a_shard_holds_waves_and_the_mels_of_exactly_these(draft):
    assert held(draft) == {"train": ["a", "b"], "held_out": ["c"]}
    table = pq.read_table(shards.shard_file(draft, "train", 7))
    wave, mel = (table[name].combine_chunks().to_numpy_ndarray() for name in ("wave", "mel"))
    assert wave.dtype == np.int16 and mel.dtype == np.float16
    assert wave.shape == (2, CLIP.num_samples) and mel.shape == (2, MEL.bands, MEL.frames(CLIP.num_samples))
    assert np.array_equal(mel, Mel(MEL)(torch.from_numpy(to_float(wave))).half().numpy())
    assert table["label"].to_pylist() == [0, 1]


def test_outcomes_say_which_shards_are_done(draft):
    assert shards.done_shards(draft) == {7}
    outcomes = shards.read_outcomes(draft)
    assert {id: outcome.kind for id, outcome in outcomes.items()} == {"a": "", "b": "", "c": "", "d": "unreadable"}
    assert not list(draft.glob("*/*.attempt"))


def test_mending_moves_and_drops_clips(draft):
    shards.mend(draft, 7, {"a": "reference", "c": "train"})
    assert held(draft) == {"train": ["c"], "reference": ["a"]}


def test_a_draft_that_was_left_while_being_mended_starts_anew(draft):
    for file in (draft / shards.OUTCOMES).iterdir():
        file.unlink()
    (draft / shards.OUTCOMES).rmdir()
    assert shards.done_shards(draft) == set() and held(draft) == {}


def test_shards_are_bounded_in_bytes_and_grow_with_the_corpus():
    usual, long = (ClipSpec(), MelSpec()), (ClipSpec(seconds=60), MelSpec())
    assert shards.clip_bytes(*usual) == 2 * (88_200 + 80 * 344)
    assert shards.clips_per_shard(500, *usual) == 32
    assert shards.clips_per_shard(1_000_000, *usual) * shards.clip_bytes(*usual) <= 64 << 20
    assert 1 <= shards.clips_per_shard(1_000_000, *long) * shards.clip_bytes(*long) <= 64 << 20


def test_files_that_end_their_workers_are_left_aside(tmp_path):
    note = tmp_path / "0.attempt"
    files = ("fine", "crashing", "good", "crashing too")
    for _ in range(2 * MAX_CRASHES):
        worker = Attempts(note)
        for file in files:
            if worker.may_begin(file) and file.startswith("crashing"):
                break
    worker = Attempts(note)
    assert [worker.may_begin(file) for file in files] == [True, False, True, False]
    worker.end()
    assert Attempts(note).may_begin("crashing")
