"""From ensembles and bare checkpoints to sounds and files."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from foleyray import checkpoint
from foleyray.clips import DCASE7, ClassList
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, Recipe, Request, consecutive, open_generator, recipe_of, write_sounds
from foleyray.progress import Quiet
from tests.ensembles import write_tiny_ensemble, write_untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_ensemble(tmp_path_factory.mktemp("ensemble")).parent


@pytest.fixture(scope="module")
def generator(folder: Path) -> EnsembleSampler:
    return open_generator(folder, max_batch=4)


def mixed() -> list[Request]:
    """Nine requests over three classes, neighbours of other classes and members."""
    return [Request(seed % 3, seed * 1000) for seed in range(9)]


def test_one_sampler_for_each_set_of_checkpoints(generator: EnsembleSampler) -> None:
    assert len(generator.samplers) == 2


def test_sounds_come_in_the_order_of_the_requests(generator: EnsembleSampler) -> None:
    sounds = generator.generate(mixed())
    assert [(s.recipe.class_name, s.recipe.seed) for s in sounds] == [(DCASE7.names[r.label], r.seed) for r in mixed()]
    for sound in sounds:
        assert sound.wave.shape == (88_200,) and sound.wave.dtype == np.float32
        assert np.isfinite(sound.wave).all() and np.abs(sound.wave).max() <= 1


def test_one_seed_gives_one_sound_whatever_else_is_in_the_batch(generator: EnsembleSampler, folder: Path) -> None:
    together = [sound.encode("wav") for sound in generator.generate(mixed())]
    alone = [generator.generate([request])[0].encode("wav") for request in mixed()]
    assert together == alone
    other = EnsembleSampler.load(folder / "ensemble.yaml", max_batch=3).generate(mixed()[::-1])
    assert [sound.encode("wav") for sound in other][::-1] == together
    assert len(set(together)) == len(together)


def test_batches_are_bounded_and_share_their_batch_wide_values(generator: EnsembleSampler) -> None:
    batches = list(generator.batches(mixed()))
    assert max(len(batch) for batch in batches) <= 4
    for batch in batches:
        assert len({generator.roster.take(mixed()[position]).part.combination for position, _ in batch}) == 1


def test_only_the_systems_asked_for_are_loaded(folder: Path) -> None:
    assert EnsembleSampler.load(folder, systems=set()).samplers == {}


def test_the_recipe_is_inside_the_file_and_makes_the_same_sound(
    generator: EnsembleSampler, folder: Path, tmp_path: Path
) -> None:
    for form in ("wav", "flac"):
        [file] = write_sounds(generator, [Request(0, 7)], tmp_path, form, Quiet()).files
        assert file.name == f"DogBark_7.{form}"
        with soundfile.SoundFile(file) as sound:
            assert (sound.samplerate, sound.channels, sound.frames) == (22_050, 1, 88_200)
        recipe = Recipe.model_validate_json(recipe_of(file))
        assert json.loads(recipe_of(file))["class"] == "DogBark"
        assert recipe.ensemble == Ensemble.load(folder).id
        again = Request(DCASE7.index(recipe.class_name), recipe.seed, recipe.params)
        assert generator.generate([again])[0].encode(form) == file.read_bytes()


def test_files_that_are_there_are_not_made_again(generator: EnsembleSampler, tmp_path: Path) -> None:
    requests = consecutive(0, 0, 3)
    files = write_sounds(generator, requests, tmp_path, "flac", Quiet()).files
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    files[1].write_bytes(b"cut off")
    assert write_sounds(generator, requests, tmp_path, "flac", Quiet()).files == files
    after = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    assert after[0] == before[0] and after[2] == before[2] and after[1][1] == before[1][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"DogBark_{seed}.flac" for seed in range(3)]
    knob, bounds = next(iter(generator.roster.parts["DogBark"][0].space().items()))
    value = bounds.options[0] if bounds.options else bounds.low
    write_sounds(generator, consecutive(0, 0, 1, {knob: value}), tmp_path, "flac", Quiet())
    assert json.loads(recipe_of(files[0]))["params"][knob] == value


def test_a_bare_checkpoint_sounds_for_every_class(tmp_path: Path) -> None:
    step = list(write_untrained(tmp_path).values())[-1]
    from_step, from_run = open_generator(step.path), open_generator(step.path.parent)
    first, second = (g.generate([Request(6, 3)])[0] for g in (from_step, from_run))
    assert first.encode("wav") == second.encode("wav")
    assert first.recipe.checkpoints[step.card.stage] == step.id
    assert first.recipe.class_name == "SneezeCough"


def test_a_path_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither an ensemble .* nor a checkpoint"):
        open_generator(tmp_path)
    with pytest.raises(UserError, match="no ensemble at"):
        open_generator(tmp_path / "nothing")


def test_an_ensemble_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    file = write_tiny_ensemble(tmp_path)
    document = yaml.safe_load(file.read_text())

    def refused(change: dict[str, object], match: str) -> None:
        file.write_text(yaml.safe_dump({**document, **change}))
        with pytest.raises(UserError, match=match):
            EnsembleSampler.load(tmp_path)

    other = ClassList(names=("Rain", *(name for name in DCASE7.names if name != "Rain")))
    refused({"class_list": other.model_dump(mode="json")}, "knows the classes")
    refused({"clip": {"sample_rate_hz": 16_000, "seconds": 4.0}}, "makes clips of 4 s at 22050 Hz")
    rain = document["classes"]["Rain"][0]
    stage, path = next(iter(rain["checkpoints"].items()))
    for wrong, match in [
        ({**rain, "checkpoints": {stage: path[:-1] + "9"}}, "no checkpoint at"),
        ({**rain, "checkpoints": {stage: "../" + path}}, "stays inside its folder"),
        ({**rain, "checkpoints": {"vocoder": path}}, f"is stage '{stage}'.*names it as stage 'vocoder'"),
        ({**rain, "system": "contrastive_gann"}, "did you mean 'contrastive_gan'"),
    ]:
        refused({"classes": {**document["classes"], "Rain": [wrong]}}, match)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    file = write_tiny_ensemble(tmp_path / "inside")
    (file.parent / "checkpoints").rename(tmp_path / "outside")
    (file.parent / "checkpoints").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="lies outside"):
        EnsembleSampler.load(file)


def test_a_stage_that_makes_no_sound_is_refused(tmp_path: Path) -> None:
    step = list(write_untrained(tmp_path).values())[-1]
    card = step.card.model_copy(update={"stage": "encoder"})
    encoder = checkpoint.save(tmp_path / "encoder" / card.run, card, step.weights(), None, {})
    with pytest.raises(UserError, match="makes no sound by itself"):
        open_generator(encoder.path)
