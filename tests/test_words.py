"""The words: configs, classes, specs, sampling parameters, ensembles."""

from typing import Literal

import pytest
import yaml
from pydantic import ValidationError

from foleyray.clips import DCASE7, ClassList, ClipSpec, MelSpec
from foleyray.config import Config, UserError, fingerprint, read_yaml
from foleyray.ensemble import Ensemble, Member
from foleyray.sampling import Choice, Float, Int, SamplingParams


class Example(Config):
    steps: int = 3
    name: str = "x"


def test_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"here: 'stepz' is not a known setting \(did you mean 'steps'\?\)"):
        Example.parse({"stepz": 1}, "here")


def test_wrong_type_names_key_and_value():
    with pytest.raises(UserError, match="'steps' is 'many'"):
        Example.parse({"steps": "many"}, "here")


def test_overrides_reach_nested_keys(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("training: {gan: {steps: 10}}\nname: a\n")
    document = read_yaml(file, ["training.gan.steps=20", "training.gan.average=0.9", "name=b"])
    assert document == {"training": {"gan": {"steps": 20, "average": 0.9}}, "name": "b"}


def test_a_base_holds_where_the_file_is_silent(tmp_path):
    (tmp_path / "base.yaml").write_text("training: {gan: {steps: 10, batch_size: 4}}\nname: a\n")
    file = tmp_path / "a.yaml"
    file.write_text(f"base: {tmp_path / 'base.yaml'}\ntraining: {{gan: {{steps: 20}}}}\n")
    assert read_yaml(file, ["name=b"]) == {"training": {"gan": {"steps": 20, "batch_size": 4}}, "name": "b"}


@pytest.mark.parametrize("override", ["name", "=3", "name.deep=3"])
def test_bad_override_is_refused(tmp_path, override):
    file = tmp_path / "a.yaml"
    file.write_text("name: a\n")
    with pytest.raises(UserError, match="override"):
        read_yaml(file, [override])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "just words"])
def test_not_a_mapping_is_refused(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="mapping of settings"):
        read_yaml(file)


def test_missing_config_lists_shipped_ones():
    with pytest.raises(UserError, match=r"systems/contrastive_gan/tiny\.yaml"):
        read_yaml("systems/contrastive_gan/tinny.yaml")


def test_fingerprint_follows_content_only():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(MelSpec()) != fingerprint(MelSpec(hop=128))
    assert len(MelSpec().id) == 8


@pytest.mark.parametrize("text", ["DogBark", "dog bark", "dog_bark", "DOG-BARK", "dog", 0])
def test_class_spellings(text):
    assert DCASE7.index(text) == 0


def test_sneeze_cough_in_all_three_circulating_spellings():
    assert {DCASE7.index(text) for text in ("SneezeCough", "Sneeze_Cough", "sneeze_cough")} == {6}


@pytest.mark.parametrize("text", ["DogBrak", 7, -1])
def test_unknown_class_is_refused(text):
    with pytest.raises(UserError, match="classes: DogBark, Footstep"):
        DCASE7.index(text)


def test_class_names_that_collide_or_escape_are_refused():
    for names in [("Rain", "rain"), ("../etc",), ("",)]:
        with pytest.raises(ValidationError):
            ClassList(names=names)


def test_specs_give_the_published_shapes():
    assert ClipSpec().num_samples == 88_200
    assert MelSpec().frames(88_200) == 344
    assert MelSpec(centre=True).frames(88_200) == 345
    at_16k = MelSpec(sample_rate_hz=16_000, hop=160, bands=64)
    assert at_16k.frames(64_000) == 400
    at_24k = MelSpec(sample_rate_hz=24_000, hop=320, bands=129, high_hz=12_000)
    assert at_24k.frames(96_000) == 300


def test_band_edge_above_half_the_rate_is_refused():
    with pytest.raises(UserError, match="bands must lie within"):
        MelSpec.parse({"high_hz": 12_000}, "mel")


class Params(SamplingParams):
    truncation: float = Float(0.5, 1.0, start=1.0, help="radius of z")
    steps: int = Int(8, 50, start=20, batch_wide=True, help="denoising steps")
    weights: Literal["averaged", "raw"] = Choice(start="averaged", help="which weights")


def test_bounds_are_declared_once():
    space = Params.space()
    assert (space["truncation"].low, space["truncation"].high, space["truncation"].start) == (0.5, 1.0, 1.0)
    assert (space["steps"].kind, space["steps"].batch_wide) == ("int", True)
    assert space["weights"].options == ("averaged", "raw")
    assert Params().batch_key() == (20,)
    with pytest.raises(ValidationError):
        Params(truncation=0.4)
    with pytest.raises(ValidationError):
        Params(truncation=float("nan"))


def member(**more) -> Member:
    return Member(system="contrastive_gan", checkpoints={"gan": "checkpoints/gan/0011aabb/step-000000010"}, **more)


def test_ensemble_round_trip(tmp_path):
    ensemble = Ensemble(
        clip=ClipSpec(), class_list=DCASE7, classes={name: (member(params={"truncation": 0.7}),) for name in DCASE7.names}
    )
    ensemble.save(tmp_path)
    assert Ensemble.load(tmp_path) == ensemble == Ensemble.load(tmp_path / "ensemble.yaml")
    assert Ensemble.load(tmp_path).id == ensemble.id
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "checkpoints/../../outside", "", "a\\b"])
def test_checkpoint_paths_cannot_leave_the_folder(path):
    with pytest.raises(ValidationError):
        Member(system="contrastive_gan", checkpoints={"gan": path})


def test_ensemble_refuses_missing_class_and_wrong_shares(tmp_path):
    classes = {name: (member(),) for name in DCASE7.names}
    with pytest.raises(ValidationError, match="classes must be exactly"):
        Ensemble(clip=ClipSpec(), class_list=DCASE7, classes=classes | {"Cat": (member(),)})
    with pytest.raises(ValidationError, match=r"shares of Rain sum to 0\.5"):
        Ensemble(clip=ClipSpec(), class_list=DCASE7, classes=classes | {"Rain": (member(share=0.5),)})
    (tmp_path / "ensemble.yaml").write_text(yaml.safe_dump({"version": 2}))
    with pytest.raises(UserError, match="version"):
        Ensemble.load(tmp_path)
