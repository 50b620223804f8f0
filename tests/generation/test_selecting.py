"""Ensembles whose members select: the pick is the rule's, the sound is the picked candidate, whatever the company."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foleyray import checkpoint
from foleyray.clips import DCASE7, ClassList
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, Request, consecutive, open_generator, recipe_of, write_sounds
from foleyray.modules.clap import Clap, open_clap
from foleyray.progress import Quiet
from foleyray.selection import Bank, Pick, Picking, Selection, candidate_seed
from tests.ensembles import SCORER, with_selections, write_scorer, write_tiny_ensemble

BANK = "banks/rain.safetensors"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSampler:
    """The same members without selection."""
    return open_generator(write_tiny_ensemble(tmp_path_factory.mktemp("plain")), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, plain: EnsembleSampler) -> Path:
    """DogBark picks of 3, Footstep also by a threshold that about half of the rounds reach, Rain by a bank; others make one."""
    file = write_tiny_ensemble(tmp_path_factory.mktemp("ensemble"))
    scorer = write_scorer(file.parent / "checkpoints")
    path = f"checkpoints/{scorer.id}"
    opened = open_clap(scorer, torch.device("cpu"))
    write_bank(file.parent / BANK, near(opened.embed_audio(waves(plain, 5, [900]), 22_050)[0]))
    likeness = sorted(float(score) for score in cosines(plain, opened, 1, range(12)))
    selections = {
        "DogBark": Selection(scorer=path),
        "Footstep": Selection(scorer=path, candidates=2, threshold=likeness[8], max_rounds=3),
        "Rain": Selection(scorer=path, candidates=2, threshold=0.9, max_rounds=4, bank=Bank(vectors=BANK, size=8)),
    }
    return with_selections(file, selections).parent


@pytest.fixture(scope="module")
def generator(folder: Path) -> EnsembleSampler:
    return open_generator(folder, "cpu", max_batch=5)


@pytest.fixture(scope="module")
def clap(folder: Path) -> Clap:
    [step] = (folder / "checkpoints/clap").glob("*/step-*")
    return open_clap(checkpoint.load(step), torch.device("cpu"))


def write_bank(file: Path, vectors: Tensor) -> None:
    file.parent.mkdir(exist_ok=True)
    save_file({"vectors": vectors.contiguous()}, file)


def near(vector: Tensor) -> Tensor:
    """Eight unit vectors, each farther from `vector` than the one before."""
    noise = torch.nn.functional.normalize(torch.randn(8, len(vector), generator=torch.Generator().manual_seed(0)), dim=1)
    return torch.nn.functional.normalize(vector + torch.linspace(0.2, 1.5, 8)[:, None] * noise, dim=1)


def waves(plain: EnsembleSampler, label: int, seeds: Sequence[int]) -> Tensor:
    """By the first member of a class, as its sampler makes them."""
    part = list(plain.roster.parts.values())[label][0]
    sampler = plain.samplers[part.combination]
    with torch.inference_mode():
        return sampler.sample(torch.full((len(seeds),), label), [part.params] * len(seeds), seeds).clone()


def cosines(plain: EnsembleSampler, clap: Clap, label: int, seeds: Sequence[int]) -> Tensor:
    return clap.embed_audio(waves(plain, label, seeds), 22_050) @ clap.embed_text([clap.prompts[DCASE7.names[label]]])[0]


def by_hand(plain: EnsembleSampler, clap: Clap, bank: Tensor, request: Request, selection: Selection) -> tuple[Tensor, Pick]:
    """Every candidate made and scored alone."""
    assert request.label is not None
    picking, made = Picking(selection, request.seed), []
    while picking.wanted:
        target = clap.embed_text([clap.prompts[DCASE7.names[request.label]]])[0]
        if selection.bank:
            target = bank[picking.target]
        fresh = [waves(plain, request.label, [candidate_seed(request.seed, number)]) for number in picking.wanted]
        picking.hear([float(clap.embed_audio(wave, 22_050)[0].double() @ target.double()) for wave in fresh])
        made += fresh
    assert picking.pick
    return made[picking.pick.candidate][0], picking.pick


def mixed() -> list[Request]:
    return [Request((0, 1, 3, 5)[seed % 4], seed * 1000) for seed in range(10)]


@pytest.mark.parametrize("label", [1, 5])
def test_the_sound_is_the_candidate_that_the_rule_picks(
    generator: EnsembleSampler, plain: EnsembleSampler, folder: Path, clap: Clap, label: int
) -> None:
    name, bank = DCASE7.names[label], load_file(folder / BANK)["vectors"]
    selection = generator.roster.parts[name][0].member.selection
    assert selection
    requests = consecutive(label, 40, 6)
    sounds = generator.generate(requests)
    for request, sound in zip(requests, sounds, strict=True):
        wave, pick = by_hand(plain, clap, bank, request, selection)
        assert sound.pick == pick
        assert torch.equal(torch.from_numpy(sound.wave), wave)
        assert sound.recipe.selection == selection
    picks = [sound.pick for sound in sounds if sound.pick]
    assert len({pick.rounds for pick in picks}) > 1  # some were drawn again, some were not
    assert len({pick.candidate for pick in picks}) > 2


@pytest.mark.slow
def test_the_same_pick_and_sound_alone_in_any_batch_and_in_any_order(generator: EnsembleSampler, folder: Path) -> None:
    together = [(sound.encode("wav"), sound.pick) for sound in generator.generate(mixed())]
    alone = [(sound.encode("wav"), sound.pick) for request in mixed() for sound in generator.generate([request])]
    assert together == alone
    other = EnsembleSampler.load(folder, max_batch=16).generate(mixed()[::-1])
    assert [(sound.encode("wav"), sound.pick) for sound in other][::-1] == together
    assert all((pick is None) == (request.label == 3) for request, (_, pick) in zip(mixed(), together, strict=True))


def test_one_candidate_and_no_threshold_is_the_sound_without_selection(
    folder: Path, plain: EnsembleSampler, clap: Clap
) -> None:
    ensemble = Ensemble.load(folder)
    scorer = ensemble.classes["Rain"][0].selection
    assert scorer
    member = ensemble.classes["Rain"][0].model_copy(update={"selection": Selection(scorer=scorer.scorer, candidates=1)})
    single = EnsembleSampler.of(ensemble.model_copy(update={"classes": ensemble.classes | {"Rain": (member,)}}), folder)
    chosen, made = single.generate([Request(5, 9)])[0], plain.generate([Request(5, 9)])[0]
    assert (chosen.wave == made.wave).all()
    assert chosen.pick and (chosen.pick.candidate, chosen.pick.made) == (0, 1)


def test_no_batch_is_larger_than_allowed_and_few_sounds_are_open(generator: EnsembleSampler) -> None:
    sizes, spied = [], {}
    for combination, sampler in generator.samplers.items():
        spied[combination] = Spy(sampler, sizes)
    spying = EnsembleSampler(generator.roster, spied, 5, generator.scoring.scorers, generator.scoring.banks)
    sounds = dict(pair for batch in spying.batches(mixed()) for pair in batch)
    assert max(sizes) <= 5 and len(sounds) == len(mixed())
    assert sum(sizes) == sum(sound.pick.made if sound.pick else 1 for sound in sounds.values())


class Spy:
    """A real sampler that notes how many clips it is asked for."""

    def __init__(self, sampler, sizes) -> None:
        self.sampler, self.sizes = sampler, sizes
        self.clip, self.classes, self.params = sampler.clip, sampler.classes, sampler.params

    def sample(self, labels, params, seeds):
        self.sizes.append(len(labels))
        return self.sampler.sample(labels, params, seeds)


def test_a_recipe_makes_the_same_sound_and_says_how_it_was_chosen(generator: EnsembleSampler, tmp_path: Path) -> None:
    written = write_sounds(generator, consecutive(1, 0, 3), tmp_path, "flac", Quiet())
    text = json.loads(recipe_of(written.files[1]))
    assert text["selection"]["candidates"] == 2 and "prompt" not in text
    again = Request(DCASE7.index(text["class"]), text["seed"], text["params"])
    assert generator.generate([again])[0].encode("flac") == written.files[1].read_bytes()
    assert [len(picks) for picks in written.picks.values()] == [3] and set(written.picks) == {"Footstep"}
    assert write_sounds(generator, consecutive(1, 0, 3), tmp_path, "flac", Quiet()).picks == {}
    [other] = write_sounds(generator, [Request(3, 0)], tmp_path, "flac", Quiet()).files
    assert "selection" not in json.loads(recipe_of(other))


def test_a_scorer_is_opened_once_and_only_where_it_is_needed(generator: EnsembleSampler, folder: Path) -> None:
    assert len(generator.scoring.scorers) == 1
    assert EnsembleSampler.load(folder, systems=set()).scoring.scorers == {}
    generator.warm_up()


def refused(folder: Path, selection: Selection, match: str) -> None:
    ensemble = Ensemble.load(folder)
    rain = tuple(member.model_copy(update={"selection": selection}) for member in ensemble.classes["Rain"])
    with pytest.raises(UserError, match=match):
        EnsembleSampler.of(ensemble.model_copy(update={"classes": ensemble.classes | {"Rain": rain}}), folder)


def test_scorers_that_do_not_belong_are_refused(folder: Path, tmp_path: Path) -> None:
    gan = Ensemble.load(folder).classes["Rain"][0].checkpoints["gan"]
    refused(folder, Selection(scorer="checkpoints/clap/nothing"), "no checkpoint at")
    refused(folder, Selection(scorer=gan), "is stage 'gan', but the ensemble names it as a scorer")
    other = ClassList(names=("Rain", *(name for name in DCASE7.names if name != "Rain")))
    foreign = write_scorer(folder / "other", classes=other)
    refused(folder, Selection(scorer=f"other/{foreign.id}"), "knows the classes")
    outside = write_scorer(tmp_path)
    (folder / "link").symlink_to(tmp_path)
    refused(folder, Selection(scorer=f"link/{outside.id}"), "lies outside")


def test_banks_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    selection = Ensemble.load(folder).classes["Rain"][0].selection
    assert selection
    file = folder / "banks/other.safetensors"

    def with_bank(tensors: dict[str, Tensor], match: str, size: int = 2) -> None:
        save_file(tensors, file)
        bank = Bank(vectors="banks/other.safetensors", size=size)
        refused(folder, selection.model_copy(update={"bank": bank}), match)

    unit = torch.eye(2, SCORER.dim)
    with_bank({"vectors": unit}, "has 2 vectors, the ensemble says 3", size=3)
    with_bank({"vectors": 2 * unit}, "vectors of lengths 2 to 2")
    with_bank({"vectors": unit * torch.nan}, "vectors of lengths nan")
    with_bank({"vectors": unit.double()}, "one tensor 'vectors', float32")
    with_bank({"vector": unit}, "one tensor 'vectors', float32")
    with_bank({"vectors": torch.eye(2, 7)}, "targets of 7 values, the scorer .* vectors of 16")
    file.write_bytes(b"no tensors")
    bank = Bank(vectors="banks/other.safetensors", size=2)
    refused(folder, selection.model_copy(update={"bank": bank}), "not a whole safetensors file")
    refused(folder, selection.model_copy(update={"bank": Bank(vectors="banks/none", size=2)}), "no bank of targets at")
    save_file({"vectors": unit}, tmp_path / "outside.safetensors")
    file.unlink()
    file.symlink_to(tmp_path / "outside.safetensors")
    refused(folder, selection.model_copy(update={"bank": bank}), "lies outside")
