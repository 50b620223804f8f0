"""Checkpoints: whole or not there, weights out and in again, and sentences for damaged ones."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from foleyray import checkpoint
from foleyray.checkpoint import Card
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.stage import Every


def card(step: int) -> Card:
    return Card(
        system="contrastive_gan", stage="gan", run="0011aabb", step=step, config={"system": "contrastive_gan"}, classes=DCASE7,
        mel_id="bc354db9", corpus="0" * 8, version="0", commit="unknown",
    )  # fmt: skip


def nets(seed: int) -> nn.ModuleDict:
    torch.manual_seed(seed)
    return nn.ModuleDict({"generator": nn.Linear(3, 2), "discriminator": nn.Linear(2, 1)})


def save(folder, step, seed, raw_seed=None):
    raw = nets(raw_seed).state_dict() if raw_seed is not None else None
    return checkpoint.save(folder, card(step), nets(seed).state_dict(), raw, {"step": step, "generator": torch.arange(3)})


def test_out_and_in_again(tmp_path):
    saved = save(tmp_path, 10, seed=1, raw_seed=2)
    found = checkpoint.last(tmp_path)
    assert found is not None
    assert found.id == saved.id == "gan/0011aabb/step-000000010"
    assert found.card == card(10)
    for averaged, seed in [(True, 1), (False, 2)]:
        ours, theirs = found.restore(nets(9), averaged).state_dict(), nets(seed).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    state = found.training_state()
    assert state is not None
    assert state["step"] == 10


def test_only_the_newest_can_be_trained_on(tmp_path):
    old, new = save(tmp_path, 10, 1), save(tmp_path, 20, 2)
    assert old.training_state() is None
    assert new.training_state() is not None
    assert [c.card.step for c in checkpoint.all_steps(tmp_path)] == [10, 20]


def test_a_half_written_step_is_not_there(tmp_path):
    save(tmp_path, 10, 1)
    draft = tmp_path / ".step-000000020.part"
    draft.mkdir()
    (draft / "card.json").write_text(card(20).model_dump_json())
    found = checkpoint.last(tmp_path)
    assert found is not None
    assert found.card.step == 10
    assert save(tmp_path, 20, 2).card.step == 20
    assert not draft.exists()


def test_lost_pointer_finds_the_newest(tmp_path):
    save(tmp_path, 10, 1)
    save(tmp_path, 20, 2)
    (tmp_path / "last").unlink()
    found = checkpoint.last(tmp_path)
    assert found is not None
    assert found.card.step == 20
    assert checkpoint.last(tmp_path / "nowhere") is None


def test_damage_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(tmp_path)
    saved = save(tmp_path, 10, 1)
    with pytest.raises(UserError, match="does not fit the nets of stage gan"):
        saved.restore(nn.ModuleDict({"generator": nn.Linear(4, 4)}))
    (saved.path / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        saved.weights()
    (saved.path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="is missing"):
        saved.weights()
    (saved.path / "card.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        checkpoint.load(saved.path)


def test_no_pickled_code_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run!",))

    saved = save(tmp_path, 10, 1)
    torch.save({"x": Evil()}, saved.path / "training.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        saved.training_state()


def test_only_what_differs_is_written_twice(tmp_path):
    weights = nets(1).state_dict()
    raw = weights | {"generator.weight": weights["generator.weight"] + 1}
    saved = checkpoint.save(tmp_path, card(10), weights, raw, {})
    assert list(load_file(saved.path / "raw.safetensors")) == ["generator.weight"]
    for averaged, expected in [(True, weights), (False, raw)]:
        assert all(torch.equal(value, expected[key]) for key, value in saved.weights(averaged).items())


def test_tied_weights_are_whole(tmp_path):
    tied = nn.ModuleDict({"encoder": nn.Linear(3, 3), "decoder": nn.Linear(3, 3)})
    tied["decoder"].weight = tied["encoder"].weight
    saved = checkpoint.save(tmp_path, card(10), tied.state_dict(), None, {})
    assert torch.equal(saved.weights()["decoder.weight"], tied["encoder"].weight)


def test_pruning_spares_the_untrained_and_the_newest(tmp_path):
    for step in (0, 10, 20, 30):
        save(tmp_path, step, seed=step)
    checkpoint.prune(tmp_path, None)
    assert [c.card.step for c in checkpoint.all_steps(tmp_path)] == [0, 10, 20, 30]
    checkpoint.prune(tmp_path, Every(every=20, begin=10))
    assert [c.card.step for c in checkpoint.all_steps(tmp_path)] == [0, 10, 30]
    checkpoint.prune(tmp_path, 1)
    assert [c.card.step for c in checkpoint.all_steps(tmp_path)] == [0, 30]
    assert not list(tmp_path.glob(".*.part"))
    found = checkpoint.resumable(tmp_path)
    assert found is not None
    assert found.card.step == 30
