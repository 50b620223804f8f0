"""Sounds told in words: who answers, what is made, and which prompts are refused."""

import json
from pathlib import Path

import pytest
import torch

from foleyray.clips import DCASE7
from foleyray.config import UserError, fingerprint
from foleyray.ensemble import Ensemble
from foleyray.generation import (
    PROMPT_LENGTH,
    EnsembleSampler,
    FieldError,
    Request,
    Roster,
    consecutive,
    open_generator,
    recipe_of,
    write_sounds,
)
from foleyray.progress import Quiet
from foleyray.selection import Bank, Picking, Selection, candidate_seed
from foleyray.system import Prompted
from tests.ensembles import write_prompted_ensemble, write_scorer

MOTOR, RAIN = DCASE7.index("MovingMotorVehicle"), DCASE7.index("Rain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompted_ensemble(tmp_path_factory.mktemp("prompted")).parent


@pytest.fixture(scope="module")
def generator(folder: Path) -> EnsembleSampler:
    return open_generator(folder, "cpu", max_batch=4)


def mixed() -> list[Request]:
    return [
        Request(MOTOR, 1, prompt="rain"),
        Request(0, 2),
        Request(None, 3, prompt="a dog in the rain"),
        Request(RAIN, 4),
        Request(MOTOR, 5),
        Request(RAIN, 6, prompt="the sound of dog bark"),
    ]


@pytest.mark.slow
def test_prompted_sounds_are_the_same_alone_in_any_batch_and_in_any_order(generator: EnsembleSampler, folder: Path) -> None:
    together = [(sound.encode("wav"), sound.pick) for sound in generator.generate(mixed())]
    assert [(sound.encode("wav"), sound.pick) for request in mixed() for sound in generator.generate([request])] == together
    other = EnsembleSampler.load(folder, max_batch=16).generate(mixed()[::-1])
    assert [(sound.encode("wav"), sound.pick) for sound in other][::-1] == together


def test_words_change_the_sound(generator: EnsembleSampler) -> None:
    asked = [Request(MOTOR, 1), *(Request(MOTOR, 1, prompt=words) for words in ("rain", "gun shot"))]
    assert len({sound.wave.tobytes() for sound in generator.generate(asked)}) == 3


def test_a_selection_scores_against_the_prompt(generator: EnsembleSampler, folder: Path) -> None:
    [scorer] = generator.scoring.scorers.values()
    [sampler] = (found for found in generator.samplers.values() if isinstance(found, Prompted))
    part = generator.roster.parts["Rain"][0]
    for prompt in ("dog bark", None):
        [sound] = generator.generate([Request(RAIN, 8, prompt=prompt)])
        target, picking = sampler.targets(torch.tensor([RAIN]), [prompt])[0], Picking(Selection(scorer="x"), 8)
        waves = [
            sampler.sample(torch.tensor([RAIN]), [part.params], [candidate_seed(8, number)], [prompt])
            for number in picking.wanted
        ]
        scores = [float(scorer.embed_audio(wave, 22_050)[0].double() @ target.double()) for wave in waves]
        picking.hear(scores)
        assert sound.pick == picking.pick and sound.pick
        assert torch.equal(torch.from_numpy(sound.wave), waves[sound.pick.candidate][0])


def test_a_recipe_without_a_class_makes_its_sound_again(generator: EnsembleSampler, tmp_path: Path) -> None:
    written = write_sounds(generator, consecutive(None, 0, 6, prompt="a moving motor"), tmp_path, "wav", Quiet())
    kind = f"prompt-{fingerprint('a moving motor')}"
    assert [file.name for file in written.files] == [f"{kind}_{seed}.wav" for seed in range(6)]
    recipes = [json.loads(recipe_of(file)) for file in written.files]
    assert {(recipe["class"], recipe["prompt"]) for recipe in recipes} == {(None, "a moving motor")}
    assert {"selection" in recipe for recipe in recipes} == {True, False}  # both members were drawn
    assert len(written.picks[kind]) == sum("selection" in recipe for recipe in recipes)
    for recipe, file in zip(recipes, written.files, strict=True):
        again = Request(None, recipe["seed"], recipe["params"], recipe["prompt"])
        assert generator.generate([again])[0].encode("wav") == file.read_bytes()


def test_classes_that_take_no_prompts_say_which_do(generator: EnsembleSampler, folder: Path) -> None:
    with pytest.raises(FieldError, match=r"no member of DogBark takes prompts.*MovingMotorVehicle, Rain"):
        generator.roster.take(Request(0, 0, prompt="rain"))
    ensemble = Ensemble.load(folder)
    deaf = dict.fromkeys(("MovingMotorVehicle", "Rain"), ensemble.classes["DogBark"])
    roster = Roster(ensemble.model_copy(update={"classes": ensemble.classes | deaf}))
    for label in (None, RAIN):
        with pytest.raises(FieldError, match="takes prompts; allowed: no prompt, a class"):
            roster.take(Request(label, 0, prompt="rain"))


def test_without_a_class_every_member_that_takes_prompts_answers_by_its_share(generator: EnsembleSampler) -> None:
    labels = [generator.roster.take(Request(None, seed, prompt="rain")).label for seed in range(600)]
    assert set(labels) == {MOTOR, RAIN} and 240 < labels.count(RAIN) < 360
    takes = [generator.roster.take(Request(None, seed, prompt="rain")) for seed in range(20)]
    assert all(take.recipe.class_name is None for take in takes)
    with pytest.raises(FieldError, match=r"params.truncation: unknown sampling parameter of ldm"):
        generator.roster.take(Request(None, 0, {"truncation": 1.0}, "rain"))


@pytest.mark.parametrize("prompt", ["", "   ", "x" * (PROMPT_LENGTH + 1), "rain\n", "\x00", "\ud800", "rain\u202e"])
def test_what_is_no_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(FieldError, match=f"prompt: .*1 to {PROMPT_LENGTH} printable") as caught:
        Request(None, 0, prompt=prompt)
    assert str(caught.value).isascii()


def test_a_request_of_nothing_is_refused() -> None:
    with pytest.raises(FieldError, match="class: is missing"):
        Request(None, 0)
    Request(None, 0, prompt="x" * PROMPT_LENGTH)


def test_a_prompt_of_unknown_words_is_refused_before_any_sound(generator: EnsembleSampler) -> None:
    unknown = Request(None, 0, prompt="zwölf Xylophone")
    problem = generator.refusal(unknown)
    assert problem and problem.field == "prompt" and "no word of 'zwölf Xylophone'" in problem.message
    with pytest.raises(FieldError, match="knows no word"):
        next(generator.batches([Request(0, 0), unknown]))
    assert all(generator.refusal(request) is None for request in mixed())


def test_the_bank_of_a_class_is_no_target_of_a_prompt(folder: Path) -> None:
    ensemble = Ensemble.load(folder)
    rain = ensemble.classes["Rain"][0]
    assert rain.selection
    own = rain.selection.model_copy(update={"threshold": 0.75, "bank": Bank(vectors="banks/rain", size=3)})
    member = rain.model_copy(update={"selection": own})
    roster = Roster(ensemble.model_copy(update={"classes": ensemble.classes | {"Rain": (member,)}}))
    assert roster.take(Request(RAIN, 0)).recipe.selection == own
    told = roster.take(Request(RAIN, 0, prompt="rain")).recipe.selection
    assert told and (told.bank, told.threshold, told.candidates) == (None, -1.0, own.candidates)


def test_a_bare_checkpoint_takes_prompts_too(folder: Path, tmp_path: Path) -> None:
    [step] = (folder / "checkpoints/ldm_finetune").glob("*/step-*")
    bare = open_generator(step, "cpu")
    assert bare.roster.prompted == DCASE7.names
    [file] = write_sounds(bare, [Request(None, 4, {"steps": 5}, "rain")], tmp_path, "wav", Quiet()).files
    assert file.name == f"prompt-{fingerprint('rain')}_4.wav"
    [gan] = list((folder / "checkpoints/gan").glob("*/step-*"))[:1]
    assert open_generator(gan, "cpu").roster.prompted == ()


def test_an_ensemble_that_promises_too_much_is_refused(folder: Path) -> None:
    ensemble = Ensemble.load(folder)

    def refused(name: str, change: dict[str, object], match: str) -> None:
        member = ensemble.classes[name][0].model_copy(update=change)
        with pytest.raises(UserError, match=match):
            EnsembleSampler.of(ensemble.model_copy(update={"classes": ensemble.classes | {name: (member,)}}), folder)

    refused("Footstep", {"takes_prompts": True}, "says that contrastive_gan .* takes prompts, but")
    other = f"checkpoints/{write_scorer(folder / 'checkpoints', seed=9).id}"
    refused("Rain", {"selection": Selection(scorer=other)}, "their vectors do not compare")
