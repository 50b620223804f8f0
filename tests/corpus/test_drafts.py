import multiprocessing

import pytest

from foleyray.config import UserError
from foleyray.corpus.drafts import drafted


def test_a_finished_draft_becomes_the_output(tmp_path):
    with drafted(tmp_path / "deep" / "out", "k") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert [file.name for file in (tmp_path / "deep" / "out").iterdir()] == ["a"]
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_interrupted_draft_is_found_again_and_others_are_cleaned_away(tmp_path):
    out = tmp_path / "o[ut].x"
    for key in ("other", "mine"):
        with pytest.raises(KeyboardInterrupt), drafted(out, key) as draft:
            (draft / "part").write_text(key)
            raise KeyboardInterrupt
    (tmp_path / ".another.k.part").mkdir()
    with drafted(out, "mine") as draft:
        assert (draft / "part").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".another.k.part", out.name]


def test_a_refused_draft_is_removed(tmp_path):
    with pytest.raises(UserError, match="no"), drafted(tmp_path / "out", "k"):
        raise UserError("no")
    assert not list(tmp_path.iterdir())


def hold(out, ready, done):
    with drafted(out, "theirs"):
        ready.set()
        done.wait(60)


def test_two_processes_do_not_make_the_same_output(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "out", ready, done))
    other.start()
    try:
        assert ready.wait(60)
        for key in ("theirs", "mine"):
            with pytest.raises(UserError, match="another process is making"), drafted(tmp_path / "out", key):
                pass
    finally:
        done.set()
        other.join()
    assert (tmp_path / "out").is_dir()
