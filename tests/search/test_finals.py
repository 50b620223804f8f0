"""From finished trials to an ensemble: pools, selections, banks, mixtures, and what serving makes of them. In this process."""

import json
import sys
from copy import copy
from dataclasses import replace
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from foleyray import system
from foleyray.config import UserError
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, Request
from foleyray.generation.banks import read_bank
from foleyray.metrics.distances import frechet, moments
from foleyray.metrics.embedder import find
from foleyray.metrics.embeddings import embed_clips
from foleyray.progress import Quiet
from foleyray.report import tables
from foleyray.search.config import ChoosingConfig, MixingConfig, SearchConfig
from foleyray.search.promote import promote
from foleyray.search.results import read_winners
from foleyray.search.run import aim_of, search
from foleyray.search.scoring import find_scorer
from foleyray.search.study import ClassStudy, open_journal
from foleyray.selection import candidate_seed
from foleyray.tables import print_ensemble
from tests.search.toy_clap import write_clap
from tests.search.toy_noise import CLASSES, CLIP, SYSTEM, TWIN, entry, noise, trained, write_store

CHOOSING = ChoosingConfig(requests=12, candidates=4, thresholds=8, counts=(1, 2), targets=("text", "bank"), bank_size=5)
HOW = {"trials": 2, "clips": 8, "rungs": 1, "checkpoints": 1, "promote_clips": 8, "concurrent": 1, "batch_size": 8}
SETTINGS = SearchConfig(**HOW, choosing=CHOOSING, mixing=MixingConfig(steps=4))
TILTS = {"noise": {"Dull": 1.2, "Bright": 0.3}, "twin": {"Dull": 1.8, "Bright": 1.9}}
"""Around Dull's 1.5 both systems lie to either side; Bright's 0.3 only one of them meets."""
COUNTS = {"train": (9, 9), "reference": (14, 14), "held_out": (12, 12)}


class Scene:
    """Two systems whose trials are told and not made: the second one of each class is the best, with the tilt of TILTS."""

    def __init__(self, folder, settings=SETTINGS, systems=(SYSTEM, TWIN), counts=COUNTS):
        self.folder, self.out, self.systems = folder, folder / "search", systems
        self.store = write_store(folder / "store", counts)
        self.checkpoints = {each.name: trained(folder / "train", system=each) for each in systems}
        self.checkpoints[systems[-1].name]["clap"] = [write_clap(folder / "train")]
        self.tell(settings)

    def entries(self, settings):
        return [entry(self.settings(settings, each), each, diary=self.folder / f"diary-{each.name}") for each in self.systems]

    def settings(self, settings, each):
        starts = {name: ({"tilt": tilt},) for name, tilt in TILTS[each.name].items()}
        return settings.model_copy(update={"starts": starts})

    def tell(self, settings):
        entries = self.entries(settings)
        scorer = find_scorer([each.name for each in self.systems], self.checkpoints, settings)
        for each in entries:
            aim = aim_of(each, self.checkpoints[each.system.name], self.store, scorer)
            folder = self.out / "studies" / aim.name
            folder.mkdir(parents=True)
            journal = open_journal(folder / "journal.log")
            for label, name in enumerate(CLASSES.names):
                study = ClassStudy(journal, name, label, aim.params, aim.candidates.num_ages, each.settings)
                study.resume()
                for fad in (5.0, 1.0):
                    study.tell(study.ask(), 8, fad, 0.5)

    def search(self, settings=SETTINGS):
        return search(self.entries(settings), self.checkpoints, self.store, self.out, progress=Quiet())

    def promote(self, settings=SETTINGS):
        return promote(
            self.entries(settings), self.checkpoints, self.store, self.out, self.folder / "ensemble", progress=Quiet()
        )

    def num_clips_made(self, each=SYSTEM):
        diary = self.folder / f"diary-{each.name}"
        return sum(" clip " in line for line in diary.read_text().splitlines()) if diary.exists() else 0


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    found = Scene(tmp_path_factory.mktemp("finals"))
    found.winners = found.search()
    found.ensemble = found.promote()
    return found


def test_the_told_points_are_the_trials(scene):
    rows = [json.loads(line) for line in (scene.out / "trials.jsonl").read_text().splitlines()]
    best = {(row["system"], row["class"]): row["params"]["tilt"] for row in rows if row["fad"] == 1.0}
    assert best == {(each, name): tilt for each, tilts in TILTS.items() for name, tilt in tilts.items()}


def test_a_pool_holds_every_candidate_of_every_request(scene):
    files = sorted(scene.out.glob("pools/*/Bright.parquet"))
    assert len(files) == 2 and not list(scene.out.glob("pools/*/*.parts"))
    pools = [pq.read_table(file).to_pydict() for file in files]
    (ours,) = (pool for pool in pools if np.abs(np.array(pool["wave"][0]) - _wave(0.3 + 2 / 30, 0)).max() <= 1)
    seeds = list(range(0, 24, 2))
    assert ours["request"] == [seed for seed in seeds for _ in range(4)] and ours["candidate"] == list(range(4)) * 12
    assert ours["seed"] == [candidate_seed(seed, number) for seed in seeds for number in range(4)]
    assert ours["seed"][::4] == seeds, "the first candidate is the sound without selection"
    for row in (0, 5):
        assert np.abs(np.array(ours["wave"][row]) - _wave(0.3 + 2 / 30, ours["seed"][row])).max() <= 1
    vectors = np.array(ours["vector"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def _wave(tilt, seed):
    return np.round(noise(tilt, seed).numpy() * 32768)


def test_winners_carry_their_selection_and_what_it_measured(scene):
    assert read_winners(scene.out, CLASSES) == scene.winners
    dull, bright = (scene.winners[name] for name in CLASSES.names)
    assert bright.system == "noise" and bright.clips == 12
    assert all(one.picked.fad == one.fad for winner in (dull, bright) for one in (*winner.members, *winner.rivals))
    rows = [json.loads(line) for line in (scene.out / "Bright" / "choosing.jsonl").read_text().splitlines()]
    for each in ("noise", "twin"):
        own = [row for row in rows if row["system"] == each]
        assert own[0]["threshold"] is None and len(own) > 10 and {row["target"] for row in own} == {None, "text", "bank"}
        allowed = [row["fad"] for row in own if row["various_enough"]]
        (head,) = (one for one in (*bright.members, *bright.rivals) if one.system == each and one.fad == min(allowed))
        assert head.fad <= own[0]["fad"]


def test_a_mixture_beats_each_of_its_members(scene):
    dull = scene.winners["Dull"]
    assert {one.system for one in dull.members} == {"noise", "twin"}
    assert sum(one.share for one in dull.members) == pytest.approx(1) and dull.share >= dull.partners[0].share
    assert all(one.share * 4 == round(one.share * 4) for one in dull.members)
    assert dull.mixture_fad < min(one.fad for one in dull.members)


def test_a_second_call_makes_nothing_and_finds_the_same(scene):
    made = [scene.num_clips_made(each) for each in (SYSTEM, TWIN)]
    assert made == [2 * 12 * 4 + _promoted(scene, "noise"), 2 * 12 * 4 + _promoted(scene, "twin")]
    assert scene.search() == scene.winners
    assert scene.promote() == scene.ensemble
    assert [scene.num_clips_made(each) for each in (SYSTEM, TWIN)] == made


def _promoted(scene, each):
    """Clips that promotion made of one system, by what it remembers."""
    found = [json.loads((scene.out / name / "measured.json").read_text()) for name in CLASSES.names]
    return sum(round(8 * (row["made_per_sound"] or 1)) for rows in found for row in rows if row["system"] == each)


def test_members_carry_evidence_and_shares(scene):
    ensemble = scene.ensemble
    assert Ensemble.load(scene.folder / "ensemble") == ensemble
    dull, (bright, *others) = (ensemble.classes[name] for name in CLASSES.names)
    assert not others and bright.system == "noise" and len(dull) == 2
    proof = ensemble.mixtures["Dull"]
    assert list(ensemble.mixtures) == ["Dull"] and proof.search_value == scene.winners["Dull"].mixture_fad
    assert {rival.system for rival in proof.rivals} == {"noise", "twin"}
    assert {rival.value for rival in proof.rivals} >= {member.evidence.value for member in dull}
    assert next(iter(ensemble.standings("Dull"))) == "mixture" and ensemble.systems == ("noise", "twin")
    assert ensemble.standings("Dull").keys() == {"mixture", "noise", "twin"}
    assert ensemble.proof("Dull") == proof and ensemble.proof("Bright") == bright.evidence
    for member in (*dull, bright):
        assert member.evidence.second.metric == "kad" and member.evidence.second.interval[0] <= member.evidence.second.value
        assert (member.evidence.protocol, member.takes_prompts) == ("clean_selection", False)
        assert (member.selection is None) == (member.evidence.made_per_sound is None)


def test_a_mixture_is_measured_on_the_sounds_of_its_members(scene):
    """As many of each as its shares say, every request answered once."""
    scene_out = scene.folder / "ensemble"
    generator = served(scene_out)
    sounds = []
    begin = 0
    for number, member in enumerate(scene.ensemble.classes["Dull"]):
        seeds = list(SETTINGS.clip_seeds("promotion"))[begin : begin + round(8 * member.share)]
        begin += len(seeds)
        sounds += [sound.wave for sound in alone(generator, "Dull", number).generate([Request(0, seed) for seed in seeds])]
    assert len(sounds) == 8
    assert fad(scene, 0, np.stack(sounds)) == pytest.approx(scene.ensemble.mixtures["Dull"].value, rel=1e-4)


def test_what_was_measured_is_what_is_served(scene):
    """The ensemble's own sampler makes the sounds of promotion: the same picks, the same distance."""
    generator = served(scene.folder / "ensemble")
    members = [
        (label, n, one) for label, name in enumerate(CLASSES.names) for n, one in enumerate(scene.ensemble.classes[name])
    ]
    assert any(member.selection for _, _, member in members)
    for label, number, member in members:
        requests = [Request(label, seed) for seed in SETTINGS.clip_seeds("promotion")]
        sounds = alone(generator, CLASSES.names[label], number).generate(requests)
        if member.selection:
            picks = [sound.pick for sound in sounds]
            assert np.mean([pick.made for pick in picks]) == member.evidence.made_per_sound
            assert np.mean([pick.accepted for pick in picks]) == member.evidence.acceptance_rate
        assert fad(scene, label, np.stack([sound.wave for sound in sounds])) == pytest.approx(member.evidence.value, rel=1e-4)


def served(folder):
    """An ensemble's sampler with the toy systems found by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "names", lambda: ["noise", "twin"])
        for one in (SYSTEM, TWIN):
            module = ModuleType(one.name)
            module.SYSTEM = one
            patch.setitem(sys.modules, f"foleyray.systems.{one.name}", module)
        return EnsembleSampler.load(folder)


def alone(generator, name, number):
    """The same sampler where one member makes the class alone."""
    roster = copy(generator.roster)
    roster.parts = {**roster.parts, name: (roster.parts[name][number],)}
    scoring = generator.scoring
    return EnsembleSampler(roster, generator.samplers, generator.max_batch, scoring.scorers, scoring.banks)


def fad(scene, label, waves):
    ear = find("logmel", None, "cpu")
    real = scene.store.read("held_out", ["wave"], label=label)["wave"]
    ours, theirs = (embed_clips(ear, part, CLIP.sample_rate_hz).rows for part in (torch.from_numpy(waves), real))
    return frechet(moments(ours), moments(theirs))


def test_the_folder_is_whole(scene):
    folder = scene.folder / "ensemble"
    members = [member for members in scene.ensemble.classes.values() for member in members]
    for member in members:
        if member.selection:
            assert (folder / member.selection.scorer / "weights.safetensors").is_file()
            if member.selection.bank:
                assert len(read_bank(folder / member.selection.bank.vectors)) == member.selection.bank.size == 5
    banks = {member.selection.bank.vectors for member in members if member.selection and member.selection.bank}
    assert {f"banks/{file.name}" for file in folder.glob("banks/*")} == banks


def test_the_tables_show_shares_selection_and_both_distances(scene, capsys):
    print_ensemble(scene.folder / "ensemble")
    shown = capsys.readouterr().out
    members, _, systems = shown.partition("every system")
    proof = scene.ensemble.mixtures["Dull"]
    rows = [line for line in members.splitlines() if "Dull" in line]
    assert "mixture" in rows[0] and f"{proof.value:.3f}" in rows[0] and len(rows) == 3
    assert f"{proof.second.value:.2f}" in rows[0] and f"{proof.diversity_ratio:.3f}" in rows[0]
    assert "share" in members and "selection" in members and "KAD by logmel:active; diversity over" in members
    (row,) = (line for line in systems.splitlines() if "Dull" in line)
    assert f"{proof.value:.2f}" in row and all(
        f"{member.evidence.value:.2f}" in row for member in scene.ensemble.classes["Dull"]
    )


def test_the_report_shows_them_too(scene):
    rows = {row.name: row for row in tables.proofs(scene.ensemble)}
    assert [text.split(";")[0] for text in rows["Dull"].makers] == [
        f"{member.system}, {member.share:.0%}" for member in scene.ensemble.classes["Dull"]
    ]
    assert rows["Dull"].evidence == scene.ensemble.mixtures["Dull"]
    assert tables.systems(scene.ensemble) == ["mixture", "noise", "twin"]
    assert [row[0] and row[0].mark for _, row in tables.leaderboard(scene.ensemble)] == ["chosen", None]
    for member in (member for members in scene.ensemble.classes.values() for member in members):
        assert bool(member.way_of_choosing) == bool(member.selection)
        assert not member.selection or f"best of {member.selection.candidates} until" in member.way_of_choosing


@pytest.mark.ray
def test_several_processes_find_the_same(scene, tmp_path, ray_session):
    other = Scene(tmp_path)
    settings = SETTINGS.model_copy(update={"concurrent": 2, "batch_size": 4})
    assert other.search(settings) == scene.winners
    ensemble = other.promote(settings)
    for name in CLASSES.names:
        ours, theirs = (found.proof(name) for found in (ensemble, scene.ensemble))
        assert (ours.value, ours.made_per_sound) == (pytest.approx(theirs.value, rel=1e-6), theirs.made_per_sound)


def test_a_lost_pool_alone_is_made_again(tmp_path):
    scene = Scene(tmp_path, systems=(SYSTEM,))
    first = scene.search()
    (scene.out / "Dull" / "result.json").unlink()
    next(iter(scene.out.glob("pools/*/Bright.parquet"))).unlink()
    assert scene.search() == first
    assert scene.num_clips_made() == 3 * 12 * 4


def test_mixing_alone_compares_the_sounds_of_the_trials(tmp_path):
    settings = SETTINGS.model_copy(update={"choosing": None})
    scene = Scene(tmp_path, settings)
    winners = scene.search(settings)
    assert winners["Dull"].partners and winners["Dull"].selection is None and winners["Dull"].clips == 8
    assert not winners["Bright"].partners and winners["Bright"].system == "noise"
    assert [scene.num_clips_made(each) for each in (SYSTEM, TWIN)] == [2 * 8, 2 * 8]
    ensemble = scene.promote(settings)
    assert ensemble.mixtures.keys() == {"Dull"} and ensemble.classes["Dull"][0].evidence.acceptance_rate is None


def test_the_papers_way_is_named_everywhere(tmp_path, capsys):
    settings = SETTINGS.model_copy(update={"protocol": "paper_selection", "choosing": None, "mixing": None})
    scene = Scene(tmp_path, settings, systems=(SYSTEM,))
    winners = scene.search(settings)
    assert {winner.protocol for winner in winners.values()} == {"paper_selection"}
    ensemble = scene.promote(settings)
    assert {members[0].evidence.protocol for members in ensemble.classes.values()} == {"paper_selection"}
    assert "paper_selection" in (tmp_path / "ensemble" / "ensemble.yaml").read_text()
    print_ensemble(tmp_path / "ensemble")
    assert "paper_selection: chosen on the evaluation clips" in capsys.readouterr().out
    clean = aim_of(entry(SETTINGS), scene.checkpoints["noise"], scene.store, None)
    paper = aim_of(entry(settings), scene.checkpoints["noise"], scene.store, None)
    assert clean.name != paper.name and (clean.make.split, paper.make.split) == ("reference", "held_out")


def test_choosing_needs_a_scorer_that_does_not_evaluate(tmp_path):
    scene = Scene(tmp_path, SETTINGS.model_copy(update={"choosing": None, "mixing": None}))
    (clap,) = scene.checkpoints["twin"].pop("clap")
    with pytest.raises(UserError, match=r"a trained stage 'clap', and none of noise, twin has one; .* systems/ldm/tiny.yaml"):
        scene.search()
    card = clap.card.model_copy(update={"config": {"clap": {"kind": "published"}}})
    scene.checkpoints["noise"]["clap"] = [replace(clap, card=card)]
    with pytest.raises(UserError, match=r"search.embedder is clap and a published CLAP selects"):
        scene.search(SETTINGS.model_copy(update={"embedder": "clap"}))
