"""Prompts: in place or from a file, and what a class is called that has none."""

import pytest

from foleyray.clips import DCASE7, ClassList, spoken
from foleyray.config import UserError
from foleyray.modules.clap import PublishedClapSettings
from foleyray.modules.prompts import sentences
from foleyray.modules.tiny_clap import TinyClapSettings


@pytest.mark.parametrize(
    ("name", "words"), [("DogBark", "dog bark"), ("Rain", "rain"), ("sneeze_cough", "sneeze cough"), ("Take2Go", "take2 go")]
)
def test_a_class_name_is_said_in_words(name, words):
    assert spoken(name) == words


def test_every_class_has_a_sentence_in_the_order_of_the_classes():
    found = sentences({"dog_bark": "a dog bark", "steps": "foot steps", "Xylophone": "a xylophone"}, DCASE7)
    assert tuple(found) == DCASE7.names
    assert (found["DogBark"], found["Footstep"]) == ("a dog bark", "foot steps")
    assert found["MovingMotorVehicle"] == "the sound of moving motor vehicle"


@pytest.mark.parametrize("kind", [TinyClapSettings, PublishedClapSettings])
def test_a_file_is_read_into_the_settings(kind, tmp_path):
    (tmp_path / "mine.yaml").write_text("Rain: heavy rain\n")
    settings = kind.parse({"prompts": str(tmp_path / "mine.yaml")}, "test")
    (tmp_path / "mine.yaml").unlink()
    assert settings.prompts == {"Rain": "heavy rain"} == kind.parse(settings.model_dump(mode="json"), "card").prompts


def test_the_shipped_file_has_a_sentence_for_every_class_of_the_task():
    found = TinyClapSettings.parse({"prompts": "prompts/dcase7.yaml"}, "test").prompts
    assert tuple(found) == DCASE7.names and tuple(sentences(found, DCASE7).values()) == tuple(found.values())
    assert found["SneezeCough"] == "a man cough"


def test_wrong_prompts_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no config at '.*none.yaml'"):
        TinyClapSettings.parse({"prompts": str(tmp_path / "none.yaml")}, "test")
    with pytest.raises(UserError, match=r"prompts.Rain"):
        TinyClapSettings.parse({"prompts": {"Rain": "  "}}, "test")


def test_a_file_may_serve_another_corpus():
    assert sentences({"Rain": "heavy rain"}, ClassList(names=("Wind",))) == {"Wind": "the sound of wind"}
