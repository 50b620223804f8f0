"""Evaluations of real files: distances, copies, what compares with what."""

import shutil

import numpy as np
import pytest
import soundfile

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.evaluation.embedding import Listening, reference_of
from foleyray.evaluation.judgement import Evaluation, Sides, check_alike, check_papers, evaluate, load_evaluation
from foleyray.evaluation.places import find_place
from foleyray.metrics.reference import save_reference
from foleyray.progress import Quiet
from tests.evaluation.test_places import write
from tests.shared import SHARED, needs_shared

LISTENING = Listening("logmel", workers=0)
RATE = 22_050


def tone(path, hz, seed):
    """A tone in noise, cut off somewhere: clips of a class differ by all three."""
    generator = np.random.default_rng(seed)
    time = np.arange(4 * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * hz * generator.uniform(0.95, 1.05) * time) + 0.02 * generator.standard_normal(len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave * (time < generator.uniform(1, 4)), RATE)


def write_sides(folder):
    for seed in range(8):
        for name, hz in (("Low", 300), ("High", 3_000)):
            tone(folder / "real" / name / f"{seed}.wav", hz, seed)
            tone(folder / "near" / name / f"{seed}.wav", hz, 100 + seed)
            tone(folder / "far" / name / f"{seed}.wav", 3_300 - hz, 200 + seed)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Two classes, eight clips on each side; `far` has its classes exchanged."""
    return write_sides(tmp_path_factory.mktemp("sounds"))


def judge(generated, reference, **sides) -> Evaluation:
    return evaluate(Sides(str(generated), str(reference), **sides), LISTENING, seed=0, progress=Quiet())


@pytest.fixture(scope="module")
def near(sounds):
    return judge(sounds / "near", sounds / "real")


def test_near_is_near_and_far_is_far(near, sounds):
    far = judge(sounds / "far", sounds / "real")
    assert list(near.scores) == ["High", "Low"]
    for name, found in near.scores.items():
        assert found.is_nearest and not far.scores[name].is_nearest
        assert found.interval[1] < far.scores[name].interval[0]
        assert found.likeness.coverage.value > far.scores[name].likeness.coverage.value
    assert near.infinities["Low"].value is None and "found 8" in near.infinities["Low"].refusal


def test_it_reads_back_from_json(near, tmp_path):
    file = tmp_path / "near.json"
    file.write_text(near.model_dump_json())
    assert load_evaluation(file) == near


def test_a_statistics_file_stands_for_the_sounds(near, sounds, tmp_path):
    save_reference(tmp_path / "real.npz", reference_of(find_place(str(sounds / "real")), LISTENING, Quiet()))
    found = judge(sounds / "near", tmp_path / "real.npz")
    assert found.reference_id == near.reference_id
    for name, expected in near.scores.items():
        assert found.scores[name].fad == pytest.approx(expected.fad, rel=1e-9)
        assert found.scores[name].likeness == expected.likeness


def test_unlike_terms_do_not_compare(near, sounds, tmp_path):
    check_alike(near, judge(sounds / "far", sounds / "real"))
    fewer = tmp_path / "fewer"
    shutil.copytree(sounds / "near", fewer)
    (fewer / "Low" / "0.wav").unlink()
    fewer_found = judge(fewer, sounds / "real")
    assert any("classes have 7 to 8 generated clips" in warning for warning in fewer_found.warnings)
    with pytest.raises(UserError, match=r"do not compare, their generated clips differ: 8 and 7 to 8; evaluate both"):
        check_alike(near, fewer_found)
    with pytest.raises(UserError, match=r"their reference differ"):
        check_alike(near, judge(sounds / "near", sounds / "far"))
    with pytest.raises(UserError, match=r"their embedder differ: logmel:active@\w+ and logmel:all@"):
        check_alike(
            near, evaluate(Sides(near.generated, near.reference), Listening("logmel:all", workers=0), seed=0, progress=Quiet())
        )


def test_a_reference_of_another_embedder_is_refused(sounds, tmp_path):
    everything = Listening("logmel:all", workers=0)
    save_reference(tmp_path / "real.npz", reference_of(find_place(str(sounds / "real")), everything, Quiet()))
    with pytest.raises(
        UserError, match=r"embeddings of logmel:active@\w+ do not compare with reference statistics of logmel:all"
    ):
        judge(sounds / "near", tmp_path / "real.npz")


def test_what_was_done_to_files_and_what_is_wrong_with_them_is_told(sounds, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(sounds / "near", odd)
    write(odd / "Low" / "1.wav", seconds=1.0, rate=16_000)
    soundfile.write(odd / "Low" / "2.wav", np.zeros(4 * RATE), RATE)
    soundfile.write(odd / "Low" / "3.wav", np.sign(np.random.default_rng(0).standard_normal(4 * RATE)), RATE)
    wave, _ = soundfile.read(odd / "Low" / "4.wav")
    soundfile.write(odd / "Low" / "4.wav", wave + 0.02, RATE)
    found = judge(odd, sounds / "real")
    warnings = found.warnings
    assert "Low: 1 of 8 generated files were resampled, cut or padded to 4 s at 22,050 Hz" in warnings
    assert "Low: 1 of 8 generated clips are silent" in warnings and "Low: 1 of 8 generated clips are clipped" in warnings
    assert "Low: 1 of 8 generated clips are offset by over 1% of full scale" in warnings
    assert found.waves["Low"].num_offset == 1 and found.waves["High"].num_offset == 0
    assert -25 < found.waves["High"].loudness_dbfs < -13 and 0 < found.waves["High"].silent_share < 0.75
    assert found.waves["Low"].rolloff_hz < found.waves["High"].rolloff_hz


def test_a_class_on_one_side_only_is_refused(sounds, tmp_path):
    shutil.copytree(sounds / "near", tmp_path / "near")
    shutil.rmtree(tmp_path / "near" / "Low")
    with pytest.raises(UserError, match=r"class Low has reference clips but no generated"):
        judge(tmp_path / "near", sounds / "real")


@pytest.mark.parametrize("content", ["{}", "no json", '{"generated": 1}'])
def test_a_file_that_is_no_evaluation_is_refused(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"is not what foleyray evaluate --json writes"):
        load_evaluation(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"cannot be read"):
        load_evaluation(tmp_path / "b.json")


@pytest.mark.slow
def test_planted_training_clips_are_found(sounds, tmp_path):
    """Five of eight clips are training clips at half the level."""
    from foleyray.clips import ClipSpec, MelSpec
    from foleyray.corpus.build import build

    source = tmp_path / "source"
    for seed in range(24):
        for name, hz in (("Low", 300), ("High", 3_000)):
            tone(source / ("train" if seed < 12 else "eval") / name / f"{seed}.wav", hz, 300 + seed)
    store = build(str(source), tmp_path / "store", clip=ClipSpec(), mel=MelSpec(), max_rejected=0.0, progress=Quiet())
    copied = tmp_path / "copied"
    shutil.copytree(sounds / "near", copied)
    for seed in range(5):
        wave, _ = soundfile.read(source / "train" / "Low" / f"{seed}.wav")
        soundfile.write(copied / "Low" / f"{seed}.wav", 0.5 * wave, RATE)
    found = judge(copied, f"{store.path}:reference", training=store.path).copies["Low"]
    assert (found.num_clips, found.num_training_clips, found.num_held_out_clips) == (8, 12, 12)
    for ear in ("mel", "wave"):
        nearest = [pair for pair in found.closest if pair.ear == ear][:5]
        assert {pair.generated for pair in nearest} == {str(copied / "Low" / f"{seed}.wav") for seed in range(5)}
        assert all(pair.is_too_near for pair in nearest) and found.shares[ear].value >= 5 / 8


@needs_shared
def test_the_official_statistics_are_a_reference_for_their_recipe_only(sounds):
    official = SHARED / "data" / "t7_reference" / "vggish_eval_statistics.npz"
    with pytest.raises(UserError, match=r"logmel:active@\w+ do not compare with reference statistics of vggish:t7"):
        judge(sounds / "near", official)


def test_what_cannot_stand_beside_the_papers_is_refused_before_anything_is_heard(tmp_path):
    """The files do not decode, which whoever listened to them would say."""
    for name in DCASE7.names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.wav").write_bytes(b"RIFF")
    sides = Sides(str(tmp_path), str(tmp_path))
    with pytest.raises(UserError, match="DogBark was heard by vggish:16k, the papers' FAD is by vggish:t7"):
        check_papers(sides, Listening("vggish:16k"))
    with pytest.raises(UserError, match="the reference is of other sounds, the papers' FAD is to the challenge's own"):
        check_papers(sides, Listening("vggish:t7"))
    (tmp_path / "Rain" / "0.wav").unlink()
    with pytest.raises(UserError, match="the papers' FAD is of seven classes, Rain not scored"):
        check_papers(sides, Listening("vggish:t7"))
