"""A whole system in one plain process: names, checkpoints, resuming, and sentences for what goes wrong."""

import json
import signal
import threading
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foleyray import checkpoint
from foleyray.config import UserError
from foleyray.corpus.store import open_store
from foleyray.stage import Training
from foleyray.train.claim import claimed
from foleyray.train.job import Job
from foleyray.train.run import remembered_corpus, train, trained
from tests.train import toy
from tests.train.toy import SYSTEM, Said, config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy.write_store(tmp_path_factory.mktemp("corpus") / "store")


def run(store, out, settings, **more):
    said = Said()
    found = train(SYSTEM, settings, store, out, workers=0, progress=said, **more)
    return found, said.sentences


def steps(checkpoints):
    return [found.card.step for found in checkpoints]


def same(a, b, averaged=True) -> bool:
    theirs = b.weights(averaged)
    return all(torch.equal(value, theirs[key]) for key, value in a.weights(averaged).items())


def test_every_stage_is_trained_once(store, tmp_path):
    found, said = run(store, tmp_path, config(steps=10))
    assert {name: steps(saved) for name, saved in found.items()} == {"classifier": [0, 5, 10], "players": [0, 5, 10]}
    assert not said
    last = found["players"][-1]
    assert last.card.needs == {"classifier": found["classifier"][-1].id}
    assert last.card.corpus == store.fingerprint
    assert last.card.scores["validation/judged"] < found["players"][0].card.scores["validation/judged"]
    judge = {key: value for key, value in last.weights().items() if key.startswith("judge.")}
    averaged = found["classifier"][-1].weights()
    assert all(torch.equal(value, averaged[key.replace("judge", "net", 1)]) for key, value in judge.items())

    written = last.path.stat().st_mtime_ns
    again, said = run(store, tmp_path, config(steps=10))
    assert again == found == trained(tmp_path, SYSTEM, config(steps=10), store)
    assert [sentence.split(":")[0] for sentence in said] == ["classifier is trained already", "players is trained already"]
    assert last.path.stat().st_mtime_ns == written


def test_ten_steps_are_five_and_five(store, tmp_path):
    """Dropout, noise, optimizers, averages and the order of the clips all go on where they were, bit by bit."""
    whole, _ = run(store, tmp_path / "whole", config(steps=10, dropout=0.3, accumulate=2))
    run(store, tmp_path / "parts", config(steps=5, dropout=0.3, accumulate=2), until="classifier")
    parts, said = run(store, tmp_path / "parts", config(steps=10, dropout=0.3, accumulate=2))
    assert said == ["classifier goes on from step 5 of 10"]
    for stage in whole:
        a, b = whole[stage][-1], parts[stage][-1]
        assert a.id == b.id
        assert same(a, b)
        assert same(a, b, averaged=False)
        assert any(not torch.equal(a.weights()[key], value) for key, value in a.weights(averaged=False).items())


def test_the_name_is_what_is_learned(store, tmp_path):
    def name(settings, stage="classifier"):
        job = Job(SYSTEM, settings, store, stage, {}, tmp_path)
        return job.run

    plain = config()
    other = toy.ToyConfig(training=plain.training | {"players": plain.training["players"].model_copy(update={"seed": 3})})
    assert name(plain) == name(other) == name(config(steps=99, keep=1, checkpoint_every=2))
    different = [config(lr=0.5), config(seed=1), config(batch_size=4), config(cosine=True), config(cosine=True, steps=99)]
    assert len({name(settings) for settings in [plain, *different]}) == 6


def test_a_pruned_run_keeps_the_untrained_and_the_newest(store, tmp_path):
    found, _ = run(store, tmp_path, config(steps=10, checkpoint_every=2, keep=2), until="classifier")
    assert steps(found["classifier"]) == [0, 8, 10]
    with pytest.raises(UserError, match=r"has gone on to step 10 and keeps no step 4; set training.classifier.steps=10"):
        run(store, tmp_path, config(steps=4), until="classifier")


def test_a_schedule_keeps_its_steps_and_the_last_one(store, tmp_path):
    """The last step makes room where training goes on; what a schedule is does not name the run, and resuming is exact."""
    schedule = {"checkpoint_every": 1, "keep": {"every": 4, "begin": 2}}
    found, _ = run(store, tmp_path / "parts", config(steps=8, dropout=0.3, **schedule), until="classifier")
    assert steps(found["classifier"]) == [0, 2, 6, 8]
    found, said = run(store, tmp_path / "parts", config(steps=11, dropout=0.3, **schedule), until="classifier")
    assert steps(found["classifier"]) == [0, 2, 6, 10, 11] and said == ["classifier goes on from step 8 of 11"]
    whole, _ = run(store, tmp_path / "whole", config(steps=11, dropout=0.3, checkpoint_every=1), until="classifier")
    for step in found["classifier"]:
        (same_step,) = (other for other in whole["classifier"] if other.id == step.id)
        assert same(step, same_step) and same(step, same_step, averaged=False)


def test_a_schedule_of_steps_that_are_never_saved_is_refused():
    with pytest.raises(UserError, match=r"keep has every 20 and begin 15, but a checkpoint is saved every 10 steps"):
        Training.parse({"steps": 9, "batch_size": 1, "checkpoint_every": 10, "keep": {"every": 20, "begin": 15}}, "here")
    with pytest.raises(UserError, match=r"'keep.Every.from' is not a known setting"):
        Training.parse({"steps": 9, "batch_size": 1, "keep": {"every": 2000, "from": 1000}}, "here")
    with pytest.raises(UserError, match=r"greater than or equal to 1"):
        Training.parse({"steps": 9, "batch_size": 1, "keep": 0}, "here")


def test_until_a_stage_and_what_is_missing(store, tmp_path):
    with pytest.raises(UserError, match=r"stage classifier has no checkpoint in .*; run `foleyray train`"):
        trained(tmp_path, SYSTEM, config(), store)
    found, _ = run(store, tmp_path, config(steps=5), until="classifier")
    assert list(found) == ["classifier"]
    with pytest.raises(UserError, match=r"stage classifier is at step 5 of 10"):
        trained(tmp_path, SYSTEM, config(), store)
    with pytest.raises(UserError, match=r"stage players has no checkpoint"):
        trained(tmp_path, SYSTEM, config(steps=5), store)
    with pytest.raises(UserError, match=r"unknown stage 'classifer' \(did you mean 'classifier'\?\)"):
        run(store, tmp_path, config(), until="classifer")


def test_the_corpus_is_remembered(store, tmp_path):
    with pytest.raises(UserError, match="nothing was trained in"):
        remembered_corpus(tmp_path)
    run(store, tmp_path, config(steps=1), until="classifier")
    assert open_store(remembered_corpus(tmp_path)).fingerprint == store.fingerprint
    (tmp_path / "run.json").write_text(json.dumps({"system": "toy"}))
    with pytest.raises(UserError, match="is damaged"):
        remembered_corpus(tmp_path)


def test_config_and_corpus_must_fit(store, tmp_path):
    with pytest.raises(
        UserError, match=r"the config's clip.seconds is 1.0 but the corpus was made with 0.25; set clip.seconds"
    ):
        run(store, tmp_path, config(clip=toy.CLIP.model_copy(update={"seconds": 1.0})))
    with pytest.raises(UserError, match=r"the config's mel.bands is 8"):
        run(store, tmp_path, config(mel=toy.MEL.model_copy(update={"bands": 8})))
    training = config().training
    with pytest.raises(UserError, match=r"training.player is for no stage of toy \(did you mean 'players'\?\)"):
        run(store, tmp_path, toy.ToyConfig(training=training | {"player": training["players"]}))
    with pytest.raises(UserError, match=r"the config says nothing about training.players"):
        run(store, tmp_path, toy.ToyConfig(training={"classifier": training["classifier"]}))


def test_lost_numbers_are_a_sentence(store, tmp_path):
    expected = (
        r"training of 'classifier' stopped: the loss of turn 'fit' is nan at step 7; "
        r"the last good checkpoint is classifier/[0-9a-f]{8}/step-000000005"
    )
    with pytest.raises(UserError, match=expected):
        run(store, tmp_path, config(spoil_at=7), until="classifier")
    (folder,) = (tmp_path / "classifier").iterdir()
    assert steps(checkpoint.all_steps(folder)) == [0, 5]


def test_an_interruption_is_saved_and_leaves_no_trace(store, tmp_path):
    """Ctrl-C ends a step, saves it and goes; the next attempt goes on from there and then removes the odd step."""
    settings = config(steps=5000, checkpoint_every=5000, dropout=0.3)
    folder = tmp_path / "parts"

    def press() -> None:
        while not list(folder.glob("classifier/*/step-000000000")):
            time.sleep(0.01)
        time.sleep(0.3)
        signal.raise_signal(signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        run(store, folder, settings, until="classifier")
    finger.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (run_folder,) = (folder / "classifier").iterdir()
    odd = checkpoint.last(run_folder).card.step
    assert 0 < odd < 5000

    nearly = config(steps=odd + 5, checkpoint_every=5000, dropout=0.3)
    found, said = run(store, folder, nearly, until="classifier")
    assert said == [f"classifier goes on from step {odd} of {odd + 5}"]
    assert steps(found["classifier"]) == [0, odd + 5]
    whole, _ = run(store, tmp_path / "whole", nearly, until="classifier")
    assert same(whole["classifier"][-1], found["classifier"][-1])


def test_one_writer_at_a_time(tmp_path):
    with claimed(tmp_path):
        with pytest.raises(UserError, match=r"is being trained by process \d+ on .*; wait for it or end it"):
            with claimed(tmp_path, patience_seconds=0.1):
                pass
    with claimed(tmp_path, patience_seconds=0.0):
        pass


def test_curves_and_sounds(store, tmp_path, monkeypatch):
    monkeypatch.setattr("foleyray.system.find", lambda name: SYSTEM)
    found, _ = run(store, tmp_path, config(steps=20))
    for stage in found:
        events = EventAccumulator(str(found[stage][-1].path.parent), size_guidance={"audio": 0, "scalars": 0})
        events.Reload()
        tags = events.Tags()
        expected = {"classifier": "fit/loss", "players": "generator/judged"}[stage]
        assert [point.step for point in events.Scalars(expected)] == [5, 10, 15, 20]
        assert {f"{expected.split('/')[0]}/learning_rate", "steps_per_second"} <= set(tags["scalars"])
    assert tags["audio"] == ["Low", "High"]
    assert [clip.step for clip in events.Audio("Low")] == [0, 5, 10, 15, 20]
    assert events.Audio("Low")[0].sample_rate == toy.CLIP.sample_rate_hz


def test_a_failing_preview_ends_no_training(store, tmp_path, caplog):
    found, _ = run(store, tmp_path, config(steps=2))
    assert steps(found["players"]) == [0, 2]
    assert "no previews at step 2 of players: unknown system 'toy'" in caplog.text
