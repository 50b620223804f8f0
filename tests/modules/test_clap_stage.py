"""The stage `clap` in real training: both kinds, the column they make, and their checkpoint opened where nothing else is."""

import shutil
from math import log

import pytest
import torch

from foleyray.audio.wav import resample
from foleyray.checkpoint import load
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.modules.clap import PublishedClapSettings, open_clap, text_vectors
from foleyray.modules.clap_stage import TinyClapStage, clap_stage, contrast, shifted_and_turned
from foleyray.modules.prompts import sentences
from foleyray.modules.tiny_clap import TinyClap, TinyClapSettings
from foleyray.pretrained.clap import PublishedClap, weights_file
from foleyray.stage import MakesColumn, Shared
from foleyray.train.job import Job
from foleyray.train.run import train
from tests.modules.clap_corpus import CLASSES, CLIP, SMALL, SYSTEM, config, heard, write_store
from tests.pretrained.clap_models import save_model
from tests.train.toy import Said

CPU = torch.device("cpu")


def run(store, out, settings, until=None):
    return train(SYSTEM, settings, store, out, workers=0, progress=Said(), until=until)


def alone(checkpoint, folder):
    """The checkpoint where nothing else is."""
    return load(shutil.copytree(checkpoint.path, folder / checkpoint.path.name))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("corpus") / "store")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def tiny(store, out):
    """Stage -> its checkpoints."""
    return run(store, out, config())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "clap")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A corpus that a network of ten seconds is through with soon."""
    return write_store(tmp_path_factory.mktemp("few") / "store", num_clips=4)


@pytest.fixture(scope="module")
def published(few, model, tmp_path_factory):
    """Checkpoint of the copy, whose model is gone."""
    gone = shutil.copytree(model, tmp_path_factory.mktemp("gone") / "clap")
    found = run(few, tmp_path_factory.mktemp("train"), config(PublishedClapSettings(model=gone), steps=1), until="clap")
    shutil.rmtree(gone)
    return alone(found["clap"][-1], tmp_path_factory.mktemp("alone"))


def test_both_kinds_are_shared_and_make_the_column(model):
    for settings in (SMALL, PublishedClapSettings(model=model)):
        stage = clap_stage(settings, CLIP, CLASSES)
        assert isinstance(stage, Shared) and isinstance(stage, MakesColumn) and stage.makes == "clap"


def test_training_brings_sounds_to_their_sentences(tiny):
    first, last = (tiny["clap"][at].card.scores for at in (0, -1))
    assert last["validation/loss"] < first["validation/loss"] - 0.1
    assert last["validation/accuracy"] > 0.95
    clap = open_clap(tiny["clap"][-1], CPU)
    wave, label = heard(split_seed=9)
    cosines = clap.embed_audio(wave, CLIP.sample_rate_hz) @ clap.embed_text(list(clap.prompts.values())).T
    assert (cosines.argmax(dim=1) == label).float().mean() > 0.9
    own = cosines.gather(1, label[:, None])
    assert own.max() < 0.99 and own.std() > 1e-3


def test_the_column_holds_the_vectors_of_the_clips(tiny, store, out):
    (folder,) = [path.parent for path in (out / "clap").glob("*/store.json")]
    column = open_store(folder).read("reference", ["clap"])["clap"]
    assert column.shape == (32, 8)
    wave = torch.from_numpy(store.read("reference", ["wave"])["wave"]).float() / 32_768
    wanted = open_clap(tiny["clap"][-1], CPU).embed_audio(wave, CLIP.sample_rate_hz)
    torch.testing.assert_close(torch.from_numpy(column).float(), wanted, rtol=1e-4, atol=1e-5)
    losses = [tiny["reader"][at].card.scores["validation/loss"] for at in (0, -1)]
    assert losses[1] < losses[0]


def test_its_checkpoint_is_enough(tiny, tmp_path):
    clap = open_clap(alone(tiny["clap"][-1], tmp_path), CPU)
    assert clap.dim == 8 and clap.prompts == {"Rain": "the sound of rain", "DogBark": "the sound of dog bark"}
    assert tiny["clap"][-1].card.system is None


@pytest.mark.parametrize("kind", ["tiny", "published"])
def test_a_clip_and_a_text_have_the_same_bits_in_any_company(kind, request):
    found = request.getfixturevalue(kind)
    clap = open_clap(found["clap"][-1] if kind == "tiny" else found, CPU)
    wave, _ = heard(split_seed=3, count=3)
    texts = ["rain", "the sound of dog bark", ""]
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            together = clap.embed_audio(wave, CLIP.sample_rate_hz)
            one_by_one = torch.cat([clap.embed_audio(clip, CLIP.sample_rate_hz) for clip in torch.split(wave, 1)])
            assert torch.equal(together, one_by_one)
            assert torch.equal(clap.embed_text(texts), torch.cat([clap.embed_text([text]) for text in texts]))
    finally:
        torch.set_num_threads(before)
    assert together.shape == (3, clap.dim) and together.dtype == torch.float32
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    vectors = clap.embed_text(texts)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert ((vectors @ vectors.T).fill_diagonal_(0) < 0.9999).all()
    assert clap.embed_audio(wave[:0], CLIP.sample_rate_hz).shape == (0, clap.dim) == clap.embed_text([]).shape


@pytest.mark.parametrize("kind", ["tiny", "published"])
def test_a_text_of_unknown_words_is_refused(kind, request):
    found = request.getfixturevalue(kind)
    clap = open_clap(found["clap"][-1] if kind == "tiny" else found, CPU)
    assert clap.embed_text(["A loud RAIN!" if kind == "tiny" else "a loud rain"]).isfinite().all()
    for text in ("xylophone", "?"):
        with pytest.raises(UserError, match=rf"knows no word of '{text.replace('?', '[?]')}'"):
            clap.embed_text(["rain", text])


def test_a_published_one_is_copied_with_all_that_it_needs(published, model):
    clap, original = open_clap(published, CPU), PublishedClap.open(model, weights_file(model))
    wave, _ = heard(split_seed=4, count=2)
    wanted = original.embed_audio(resample(wave, CLIP.sample_rate_hz, original.sample_rate_hz))
    torch.testing.assert_close(clap.embed_audio(wave, CLIP.sample_rate_hz), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clap.embed_text(["the sound of rain", ""]), original.embed_text(["the sound of rain", ""]))
    assert 0 <= published.card.scores["validation/accuracy"] <= 1 and published.card.step == 1


def test_a_published_one_is_named_by_its_content_and_not_by_its_path(few, model, tmp_path):
    def name(folder):
        return Job(SYSTEM, config(PublishedClapSettings(model=folder)), few, "clap", {}, tmp_path).run

    copy = shutil.copytree(model, tmp_path / "copy")
    assert name(copy) == name(model)
    (copy / "preprocessor_config.json").write_text((copy / "preprocessor_config.json").read_text().replace("14000", "12000"))
    other = save_model(tmp_path / "other", seed=1)
    assert len({name(model), name(copy), name(other)}) == 3


def test_training_goes_on_from_a_copy(few, model, tmp_path):
    settings = PublishedClapSettings(model=model)
    first = run(few, tmp_path, config(settings, steps=1), until="clap")["clap"][-1]
    second = run(few, tmp_path, config(settings, steps=2), until="clap")["clap"][-1]
    assert (first.card.run, first.card.step, second.card.step) == (second.card.run, 1, 2)
    before, after = first.weights(), second.weights()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_that_is_missing_or_cannot_say_a_prompt_is_refused(few, model, tmp_path):
    with pytest.raises(UserError, match="no readable config"):
        run(few, tmp_path, config(PublishedClapSettings(model=tmp_path / "none"), steps=1))
    settings = PublishedClapSettings(model=model, prompts={"Rain": "drizzle"})
    with pytest.raises(UserError, match="no word of 'drizzle'"):
        run(few, tmp_path, config(settings, steps=1))


def test_the_hubs_model_is_named_without_being_there(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    stage = clap_stage(PublishedClapSettings(), CLIP, CLASSES)
    assert isinstance(stage, Shared) and len(stage.identity.model_dump()["content"]) == 8
    with pytest.raises(UserError, match="of laion/clap-htsat-unfused at revision"):
        stage.build({})


def test_other_stages_learn_from_texts(published):
    """Vectors that were read for another net pass through it in training."""
    net = PublishedClap.blank(published.weights()["clap.files"], "test")
    nets = torch.nn.ModuleDict({"clap": net})
    layer = torch.nn.Linear(24, 3)
    layer(text_vectors(nets, ["rain", ""])).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0


def test_checkpoints_of_other_stages_are_refused(tiny):
    with pytest.raises(UserError, match="is of the stage reader; one of the stage clap is expected"):
        open_clap(tiny["reader"][-1], CPU)


def test_all_clips_of_a_sentence_are_right_for_it():
    """Two clips of one sentence and one of another: what is left of the loss is what the shares cost."""
    meant = torch.tensor([4, 7, 4])
    same = (meant[:, None] == meant).float()
    logits = torch.cat([100 * same, torch.zeros(3, 1)], dim=1)
    torch.testing.assert_close(contrast(logits, meant), torch.tensor((log(2) * 2) / 3))
    assert contrast(logits, torch.tensor([4, 4, 7])) > 20
    nothing = torch.cat([100 * same, torch.full((3, 1), 200.0)], dim=1)
    assert contrast(nothing, meant) > 40


def test_two_classes_may_share_a_sentence():
    stage = TinyClapStage(TinyClapSettings(prompts={"GunShot": "a bang", "DogBark": "a bang"}), CLIP, DCASE7)
    assert stage.meant[0] == stage.meant[2] and len(stage.meant.unique()) == 6


def test_a_clip_is_moved_round_its_end_and_turned_up_or_down():
    wave = torch.rand(64, 100) + 0.5
    changed = shifted_and_turned(wave, 10, 6.0, torch.Generator().manual_seed(0))
    gains, shifts = [], []
    for before, after in zip(wave, changed, strict=True):
        gain = after.sum() / before.sum()
        (shift,) = [by for by in range(-50, 50) if torch.allclose(before.roll(by) * gain, after, rtol=1e-4)]
        gains.append(20 * float(gain.log10()))
        shifts.append(shift)
    assert (min(shifts), max(shifts)) == (-10, 10) and -6 < min(gains) < -4 and 4 < max(gains) < 6
    assert torch.equal(changed, shifted_and_turned(wave, 10, 6.0, torch.Generator().manual_seed(0)))
    assert torch.equal(shifted_and_turned(wave, 0, 0.0, torch.Generator()), wave)


def test_the_tiny_one_reads_the_words_of_its_prompts_in_any_letters():
    told = sentences({"Rain": "Heavy rain, falling"}, CLASSES)
    net = TinyClap(SMALL, list(told.values())).eval()
    assert net.text.vocabulary == ["bark", "dog", "falling", "heavy", "of", "rain", "sound", "the"]
    assert torch.equal(net.embed_text(["HEAVY rain"]), net.embed_text(["heavy, unheard-of, RAIN"])) is False
    assert torch.equal(net.embed_text(["HEAVY rain"]), net.embed_text(["heavy xylophone (rain)"]))
    torch.testing.assert_close(net.embed_text(["dog", "rain"])[1:], net.embed_text(["rain"]))
