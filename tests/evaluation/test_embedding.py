"""Listening in one process and on Ray: the same rows, whatever the partition."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.evaluation.embedding import Listening, embed_place, reference_of
from foleyray.evaluation.places import find_place
from foleyray.metrics.reference import ReferenceClass
from foleyray.progress import Quiet
from tests.evaluation.test_places import write
from tests.search.toy_noise import write_store

ALONE, ON_RAY = Listening("logmel", workers=0), Listening("logmel", workers=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rain in two pieces, one of its files too short; a class of three files; noise of growing level."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(34):
        write(folder / "Rain" / f"{number:02d}.wav", 0.5 if number == 3 else 4.0, level=0.01 * (number + 1), seed=number)
    for number in range(3):
        write(folder / "Whistle" / f"{number}.wav", level=0.3, seed=number)
    return str(folder)


def test_rows_by_class_in_the_order_of_the_files(folder):
    embedded = embed_place(find_place(folder), ALONE, Quiet())
    assert {name: clips.num_clips for name, clips in embedded.classes.items()} == {"Rain": 34, "Whistle": 3}
    assert embedded.refitted == {"Rain": 1, "Whistle": 0}
    levels = embedded.classes["Rain"].means()[:, -1]
    assert (np.diff(np.delete(levels, 3)) > 0).all()
    assert (np.diff(np.delete(embedded.signals["Rain"].loudness_dbfs, 3)) > 0).all()


def test_a_reference_is_merged_to_what_one_pass_gives(folder):
    place = find_place(folder)
    whole = {name: ReferenceClass.of(clips) for name, clips in embed_place(place, ALONE, Quiet()).classes.items()}
    merged = reference_of(place, ALONE, Quiet())
    assert list(merged) == list(whole)
    rain, expected = merged["Rain"], whole["Rain"]
    assert (rain.num_clips, rain.moments.count) == (34, expected.moments.count)
    assert np.abs(rain.moments.mean - expected.moments.mean).max() < 1e-10
    assert np.abs(rain.moments.covariance - expected.moments.covariance).max() < 1e-10
    assert np.array_equal(rain.means, expected.means)


@pytest.mark.ray
def test_ray_hears_the_same(folder, ray_session):
    place = find_place(folder)
    alone, spread = (embed_place(place, listening, Quiet()) for listening in (ALONE, ON_RAY))
    assert spread.refitted == alone.refitted
    for name, expected in alone.classes.items():
        found = spread.classes[name]
        assert found.embedder == expected.embedder
        assert np.array_equal(found.clip, expected.clip) and np.array_equal(found.dropped, expected.dropped)
        assert np.allclose(found.rows, expected.rows, atol=1e-4)
        for column, values in alone.signals[name].columns.items():
            assert np.array_equal(spread.signals[name].columns[column], values), column


@pytest.mark.ray
def test_ray_hears_a_store(tmp_path, ray_session):
    place = find_place(str(write_store(tmp_path / "store").path))
    alone, spread = (reference_of(place, listening, Quiet()) for listening in (ALONE, ON_RAY))
    for name, expected in alone.items():
        assert np.abs(spread[name].moments.mean - expected.moments.mean).max() < 1e-4
        assert spread[name].num_clips == expected.num_clips


@pytest.mark.ray
def test_a_mistake_in_a_worker_is_a_sentence(tmp_path, ray_session):
    write(tmp_path / "Rain_0.wav")
    (tmp_path / "Rain_1.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"Rain_1.wav does not decode"):
        embed_place(find_place(str(tmp_path)), ON_RAY, Quiet())
