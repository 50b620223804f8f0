"""Statistics files: what goes in comes out, the same bytes twice, and nothing damaged or foreign is believed."""

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics import official, reference
from foleyray.metrics.distances import FewRows, frechet, moments
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.reference import ReferenceClass, check_comparable, load_reference, save_reference

CARD = EmbedderCard(name="bands", recipe="all", weights_id="8bands", note="compares with itself, Übung excepted")


def clips(seed: int, count: int = 12, frames: int = 4, dim: int = 6, **changes) -> ClipEmbeddings:
    none = np.zeros(count, dtype=np.int64)
    values = {
        "rows": np.random.default_rng(seed).standard_normal((count * frames, dim)).astype(np.float32) + seed,
        "clip": np.repeat(np.arange(count), frames),
        "dropped": none,
        "silent": np.arange(count) < 2,
        "clipped": np.arange(count) < 3,
        "embedder": CARD,
    }
    return ClipEmbeddings(**(values | changes))


@pytest.fixture
def classes() -> dict[str, ReferenceClass]:
    return {"Rain": ReferenceClass.of(clips(1)), "Door slam-2": ReferenceClass.of(clips(2, count=5, frames=1))}


@pytest.fixture
def file(tmp_path, classes):
    save_reference(tmp_path / "reference.npz", classes)
    return tmp_path / "reference.npz"


def rewrite(file, **changes):
    """The file with some arrays changed, or left out where None."""
    with np.load(file, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files} | changes
    np.savez(file, **{name: array for name, array in kept.items() if array is not None})


def test_everything_comes_back(file, classes):
    found = load_reference(file)
    assert list(found) == list(classes)
    for name, part in found.items():
        given = classes[name]
        assert (part.moments.count, part.num_clips, part.embedder) == (given.moments.count, given.num_clips, CARD)
        assert (part.num_silent, part.num_clipped) == (2, 3)
        np.testing.assert_array_equal(part.moments.mean, given.moments.mean)
        np.testing.assert_array_equal(part.means, given.means)
    assert found["Rain"].means.dtype == np.float32
    np.testing.assert_array_equal(found["Rain"].moments.scatter, classes["Rain"].moments.scatter)


def test_distances_to_the_file_are_those_to_the_clips(file, classes):
    found, other = load_reference(file), moments(clips(7).rows)
    assert isinstance(classes["Door slam-2"].moments, FewRows)
    for name in classes:
        assert frechet(other, found[name].moments) == pytest.approx(frechet(other, classes[name].moments), rel=1e-9)


def test_a_reference_need_not_hold_clip_means_nor_counts(tmp_path, classes):
    bare = ReferenceClass(classes["Rain"].moments, None, 12, None, None, CARD)
    save_reference(tmp_path / "new folder/bare.npz", {"Rain": bare})
    found = load_reference(tmp_path / "new folder/bare.npz")["Rain"]
    assert (found.means, found.num_silent, found.num_clipped, found.num_clips) == (None, None, None, 12)


def test_the_same_reference_gives_the_same_bytes(tmp_path, file, classes):
    save_reference(tmp_path / "again.npz", load_reference(file) | {"Door slam-2": classes["Door slam-2"]})
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "reference.npz"]


def test_a_reference_is_of_one_embedder(tmp_path, classes):
    other = ReferenceClass.of(clips(3, embedder=CARD.model_copy(update={"recipe": "active"})))
    with pytest.raises(UserError, match="bands:all@8bands and bands:active@8bands"):
        save_reference(tmp_path / "x.npz", classes | {"Other": other})
    with pytest.raises(UserError, match="found no class"):
        save_reference(tmp_path / "x.npz", {})
    assert not (tmp_path / "x.npz").exists()


def test_too_few_rows_and_rows_that_are_not_finite_make_no_reference():
    with pytest.raises(UserError, match="two frames a side, found 1"):
        ReferenceClass.of(clips(1, count=1, frames=1))
    with pytest.raises(UserError, match="not finite"):
        ReferenceClass.of(clips(1, rows=np.full((48, 6), np.nan, dtype=np.float32)))


def test_a_damaged_file_is_refused_or_holds_what_was_written(file, classes):
    content = file.read_bytes()
    broken = file.with_name("broken.npz")
    whole = load_reference(file)
    for place in range(0, len(content), 13):
        broken.write_bytes(content[:place])
        with pytest.raises(UserError, match=r"broken\.npz"):
            load_reference(broken)
        broken.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = load_reference(broken)
        except UserError:
            continue  # a flipped byte that no checksum covers is a date or a flag, not a number
        for name, part in found.items():
            np.testing.assert_array_equal(part.moments.scatter, whole[name].moments.scatter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Rain.mean": None}, r"damaged \('Rain.mean"),
        ({"Rain.scatter": np.eye(5)}, r"damaged .*expected \(D,\) and \(D, D\)"),
        ({"Rain.mean": np.full(6, np.inf)}, "damaged .*not finite"),
        ({"Rain.count": np.asarray("many")}, "damaged"),
        ({"Rain.count": np.asarray(1)}, "damaged .*Rain has 1 rows"),
        ({"Rain.means": np.ones((11, 6), np.float32)}, r"clip means of Rain are float32 \[11, 6\]"),
        ({"Rain.means": np.full((12, 6), np.nan, np.float32)}, "clip means of Rain"),
        ({"header": np.asarray("{")}, "another header"),
        ({"header": np.asarray('{"format": "foleyray reference", "version": 2}')}, "another header .*'version' is 2"),
        ({"header": None}, "no reference statistics"),
    ],
)
def test_files_that_do_not_fit_are_refused(file, changes, message):
    rewrite(file, **changes)
    with pytest.raises(UserError, match=message):
        load_reference(file)


def test_foreign_files_are_refused_unopened(tmp_path):
    np.save(tmp_path / "plain.npy", np.eye(3))
    np.savez(tmp_path / "objects.npz", header=np.asarray([{}], dtype=object))
    (tmp_path / "text.npz").write_text("not an archive")
    for name in ("plain.npy", "objects.npz", "text.npz", "missing.npz"):
        with pytest.raises(UserError, match=rf"{name} does not read as reference statistics .*npz is expected"):
            load_reference(tmp_path / name)
    with pytest.raises(UserError, match=r"holds no reference statistics; expected .*gt_embedding.pkl"):
        load_reference(tmp_path)


def test_what_compares_with_a_reference():
    check_comparable(CARD, CARD.model_copy(update={"note": "another note"}))
    for weights_id in ("7a4d1b2c", "published"):
        check_comparable(official.CARD.model_copy(update={"weights_id": weights_id}), official.CARD)


@pytest.mark.parametrize(
    ("generated", "given"),
    [
        ({"recipe": "16k"}, official.CARD),
        ({"name": "panns"}, official.CARD),
        ({"weights_id": "11111111"}, official.CARD.model_copy(update={"weights_id": "22222222"})),
    ],
)
def test_what_does_not_compare_with_a_reference(generated, given):
    made_by = official.CARD.model_copy(update=generated)
    with pytest.raises(UserError, match=f"embeddings of {made_by} do not compare with reference statistics of {given}"):
        check_comparable(made_by, given)


def test_a_published_reference_keeps_its_card_when_saved_again(tmp_path, classes):
    part = ReferenceClass(classes["Rain"].moments, None, 100, None, None, official.CARD)
    save_reference(tmp_path / "again.npz", {"Rain": part})
    assert load_reference(tmp_path / "again.npz")["Rain"].embedder == official.CARD
    assert reference.HEADER in np.load(tmp_path / "again.npz", allow_pickle=False).files
