import io
from collections import Counter

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.corpus.feed import Feed, batches
from tests.corpus.recordings import CLIP, MEL, make_store, write_corpus


class Shard:
    """Clips whose wave holds their number; counts the rows that were read."""

    def __init__(self, labels: list[int], chunk: int = 7) -> None:
        self.labels, self.chunk, self.rows_read = np.array(labels), chunk, 0

    def __call__(self):
        for start in range(0, len(self.labels), self.chunk):
            number = np.arange(start, min(start + self.chunk, len(self.labels)))
            self.rows_read += len(number)
            yield {"wave": np.repeat(number[:, None], 3, 1).astype(np.int16), "label": self.labels[number]}


def numbers(feed: Feed, count: int) -> list[int]:
    """Of the clips of `count` batches, in order."""
    return [number for _ in range(count) for number in (next(feed)["wave"][:, 0] * 32768).long().tolist()]


@pytest.mark.parametrize("balanced", [False, True])
def test_a_shard_that_fits_is_read_once_and_every_round_has_each_clip_once(balanced):
    shard = Shard([0, 1] * 20)
    feed = Feed(shard, ("wave", "label"), 8, balanced=balanced, capacity_clips=40)
    rounds = [sorted(numbers(feed, 5)) for _ in range(4)]
    assert feed.in_memory and shard.rows_read == 40
    assert rounds == [list(range(40))] * 4


def test_rounds_are_shuffled_and_seeded():
    first, again, other = (numbers(Feed(Shard([0] * 40), ("wave",), 8, seed=seed), 10) for seed in (0, 0, 1))
    assert first == again != other
    assert first[:40] not in (first[40:], list(range(40)))


def test_balanced_batches_hold_equal_shares_whatever_the_corpus_holds():
    feed = Feed(Shard([0] * 50 + [1] * 3 + [4] * 20), ("label",), 8, balanced=True)
    total: Counter[int] = Counter()
    for _ in range(60):
        count = Counter(next(feed)["label"].tolist())
        assert set(count) == {0, 1, 4} and set(count.values()) == {2, 3}
        total += count
    assert all(130 <= total[label] <= 190 for label in (0, 1, 4))


def test_fewer_places_than_classes_go_round():
    feed = Feed(Shard(list(range(10))), ("label",), 3, balanced=True)
    seen = [tuple(next(feed)["label"].tolist()) for _ in range(40)]
    assert all(len(set(labels)) == 3 for labels in seen) and {label for labels in seen for label in labels} == set(range(10))


def test_a_large_shard_streams_through_a_bounded_pool():
    shard = Shard([0] * 500)
    feed = Feed(shard, ("wave",), 10, capacity_clips=64)
    seen = numbers(feed, 100)
    assert not feed.in_memory and len(feed.pool.columns["wave"]) == feed.pool.size == 64
    assert max(Counter(seen[:430]).values()) == 1
    assert set(seen) == set(range(500)) and max(Counter(seen).values()) <= 3
    assert shard.rows_read <= 1000 + 64 + shard.chunk


def test_a_streamed_shard_is_balanced_although_a_class_is_rare_and_late():
    shard = Shard([0] * 400 + [1] * 10 + [2] * 100)
    feed = Feed(shard, ("wave", "label"), 12, balanced=True, capacity_clips=60)
    for _ in range(100):
        feed_labels = Counter(next(feed)["label"].tolist())
    assert feed_labels == {0: 4, 1: 4, 2: 4} and not feed.in_memory
    sizes = {key: len(group) for key, group in feed.pool.groups.items()}
    assert sum(sizes.values()) == 60 and sizes[1] >= 10 and min(sizes.values()) >= 10
    slots = [slot for group in feed.pool.groups.values() for slot in (*group.fresh, *group.spent)]
    assert sorted(slots) == list(range(60))
    for key, group in feed.pool.groups.items():
        assert (feed.pool.columns["label"][group.fresh + group.spent] == key).all()


def test_a_shard_that_just_fits_does_not_stream():
    assert Feed(Shard([0] * 21), ("wave",), 4, capacity_clips=21).in_memory
    assert not Feed(Shard([0] * 22), ("wave",), 4, capacity_clips=21).in_memory


def test_a_shard_smaller_than_a_batch_repeats():
    feed = Feed(Shard([0, 1, 1]), ("wave", "label"), 8, balanced=True)
    assert Counter(next(feed)["label"].tolist()) == {0: 4, 1: 4}


def test_state_goes_on_exactly():
    feed = Feed(Shard([0, 1, 1] * 10), ("wave",), 7, balanced=True, seed=3)
    numbers(feed, 5)
    stored = io.BytesIO()
    torch.save(feed.state_dict(), stored)
    wanted = numbers(feed, 9)
    stored.seek(0)
    other = Feed(Shard([0, 1, 1] * 10), ("wave",), 7, balanced=True, seed=99)
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert numbers(other, 9) == wanted


def test_a_state_of_another_shard_only_brings_its_chance():
    feed = Feed(Shard([0] * 30), ("wave",), 5)
    feed.load_state_dict(Feed(Shard([0] * 10), ("wave",), 5).state_dict())
    assert sorted(numbers(feed, 6)) == list(range(30))


def test_nothing_to_train_on():
    with pytest.raises(UserError, match="no clips to train on"):
        Feed(Shard([]), ("wave",), 4)


def test_batches_of_a_store_have_training_types(tmp_path):
    store = make_store(write_corpus(tmp_path / "wav", {"Rain": 6, "Hail": 4}), tmp_path / "store")
    columns = ("wave", "mel", "label")
    batch = next(Feed(lambda: store.stream("train", columns), columns, 4, balanced=True))
    assert {name: (column.dtype, tuple(column.shape)) for name, column in batch.items()} == {
        "wave": (torch.float32, (4, CLIP.num_samples)),
        "mel": (torch.float32, (4, MEL.bands, MEL.frames(CLIP.num_samples))),
        "label": (torch.int64, (4,)),
    }
    assert 0.1 < batch["wave"].abs().max() <= 0.21
    whole = [batch["mel"] for batch in batches(store.stream("train", ["mel"], num_rows=3), ["mel"])]
    assert torch.equal(torch.cat(whole), torch.from_numpy(store.read("train", ["mel"])["mel"]).float())
