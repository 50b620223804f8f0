"""The HTTP application without Ray: validation, headers, encodings, errors."""

import asyncio
import base64
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest
import soundfile
from starlette.testclient import TestClient

from foleyray.clips import DCASE7
from foleyray.config import fingerprint
from foleyray.generation import EnsembleSampler, FieldError, Request, Sound, consecutive, open_generator
from foleyray.selection import Pick
from foleyray.serving.generator import Booth
from foleyray.serving.routes import MAX_BODY_BYTES, Unavailable, create_app, sound_headers
from tests.ensembles import write_prompted_ensemble


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSampler:
    return open_generator(write_prompted_ensemble(tmp_path_factory.mktemp("ensemble")), "cpu", max_batch=4)


@pytest.fixture(scope="module")
def client(generator: EnsembleSampler) -> Iterator[TestClient]:
    async def sample(request: Request) -> Sound:
        return (await asyncio.to_thread(generator.generate, [request]))[0]

    with TestClient(create_app(generator.roster, sample, max_count=4)) as client:
        yield client


RAIN = DCASE7.index("Rain")


def ask(client: TestClient, **body: Any) -> httpx.Response:
    return client.post("/v1/sounds", json=body)


def refusal(response: httpx.Response) -> dict[str, Any]:
    """The only problem of a 422."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/json"
    [problem] = response.json()["detail"]
    assert set(problem) == {"field", "message", "allowed", "nearest"}
    return dict(problem)


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_one_sound_is_the_file_itself_with_its_recipe(client: TestClient, generator: EnsembleSampler, form: Any) -> None:
    response = ask(client, **{"class": "dog bark"}, seed=7, format=form)
    sound = generator.generate([Request(0, 7)])[0]
    assert response.content == sound.encode(form)
    assert response.headers["content-type"] == f"audio/{form}"
    assert response.headers["x-foleyray-class"] == "DogBark"
    assert response.headers["x-foleyray-seed"] == "7"
    assert response.headers["x-foleyray-system"] == sound.recipe.system
    assert response.headers["x-foleyray-ensemble"] == generator.roster.id
    assert json.loads(response.headers["x-foleyray-checkpoints"]) == sound.recipe.checkpoints
    assert json.loads(response.headers["x-foleyray-params"]) == sound.recipe.params
    assert f'filename="DogBark_7.{form}"' in response.headers["content-disposition"]
    with soundfile.SoundFile(io.BytesIO(response.content)) as file:
        assert json.loads(file.comment) == json.loads(sound.recipe.json_text)


def test_a_seed_left_out_is_drawn_and_told(client: TestClient) -> None:
    first, second = (ask(client, **{"class": "Rain"}) for _ in range(2))
    assert first.headers["x-foleyray-seed"] != second.headers["x-foleyray-seed"]
    again = ask(client, **{"class": "Rain"}, seed=int(first.headers["x-foleyray-seed"]))
    assert again.content == first.content


def test_several_sounds_come_as_a_zip_of_consecutive_seeds(client: TestClient, generator: EnsembleSampler) -> None:
    response = ask(client, **{"class": "DogBark"}, seed=5, count=4)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["x-foleyray-seed"] == "5"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.namelist() == [f"DogBark_{seed}.wav" for seed in range(5, 9)]
    for name, sound in zip(archive.namelist(), generator.generate(consecutive(0, 5, 4)), strict=True):
        assert archive.read(name) == sound.encode("wav")
    assert ask(client, **{"class": "DogBark"}, seed=5, count=4).content == response.content


def test_accept_decides(client: TestClient, generator: EnsembleSampler) -> None:
    body = {"class": "Rain", "seed": 1, "count": 2, "format": "flac"}
    answer = client.post("/v1/sounds", json=body, headers={"Accept": "application/json"}).json()
    sounds = generator.generate(consecutive(RAIN, 1, 2))
    assert [sound["pick"] for sound in answer["sounds"]] == [asdict(sound.pick) for sound in sounds if sound.pick]
    assert [base64.b64decode(sound["audio"]) for sound in answer["sounds"]] == [sound.encode("flac") for sound in sounds]
    assert answer["sounds"][1]["recipe"] == json.loads(sounds[1].recipe.json_text)
    assert answer["sounds"][1]["name"] == "Rain_2.flac"
    single = client.post("/v1/sounds", json={"class": "Rain"}, headers={"Accept": "application/zip"})
    assert single.headers["content-type"] == "application/zip"


@pytest.mark.parametrize(
    ("body", "field", "nearest"),
    [
        ({"class": "DogBrk"}, "class", "DogBark"),
        ({"class": "keybord typing"}, "class", "Keyboard"),
        ({"class": 3}, "class", None),
        ({"class": "x" * 1000}, "class", None),
        ({"class": "Rain", "count": 0}, "count", None),
        ({"class": "Rain", "count": 5}, "count", None),
        ({"class": "Rain", "count": 1.0}, "count", None),
        ({"class": "Rain", "count": True}, "count", None),
        ({"class": "Rain", "seed": -1}, "seed", None),
        ({"class": "Rain", "seed": 2**63}, "seed", None),
        ({"class": "Rain", "seed": 2**63 - 1, "count": 2}, "seed", None),
        ({"class": "Rain", "seed": "7"}, "seed", None),
        ({"class": "Rain", "format": "Flack"}, "format", "flac"),
        ({"class": "Rain", "params": [1]}, "params", None),
        ({"class": "Rain", "params": {f"p{n}": 1 for n in range(65)}}, "params", None),
        ({"class": "Rain", "sede": 7}, "sede", "seed"),
        ({"seed": 7}, "class", None),
    ],
)
def test_a_wrong_field_is_named_with_the_nearest_match(
    client: TestClient, body: dict[str, Any], field: str, nearest: str | None
) -> None:
    problem = refusal(ask(client, **body))
    assert (problem["field"], problem["nearest"]) == (field, nearest)
    assert problem["allowed"] and len(problem["message"]) < 200


def test_allowed_values_are_told(client: TestClient) -> None:
    assert refusal(ask(client, **{"class": "Cat"}))["allowed"] == list(DCASE7.names)
    assert refusal(ask(client, **{"class": "Rain"}, count=99))["allowed"] == "a whole number from 1 to 4"
    assert refusal(ask(client, **{"class": "Rain"}, format=1))["allowed"] == ["wav", "flac"]


def test_every_wrong_field_is_told_at_once(client: TestClient) -> None:
    problems = ask(client, **{"class": "Rain"}, count=0, seed=-1, colour="red").json()["detail"]
    assert {problem["field"] for problem in problems} == {"count", "seed", "colour"}


def test_sampling_parameters_are_checked_against_the_bounds_that_classes_tells(client: TestClient) -> None:
    rain = next(item for item in client.get("/v1/classes").json()["classes"] if item["name"] == "Rain")
    [member] = rain["members"]
    name, bounds = next((k, b) for k, b in member["params"].items() if b["kind"] != "choice")
    assert refusal(ask(client, **{"class": "Rain"}, params={name: bounds["high"] + 1}))["field"] == f"params.{name}"
    assert refusal(ask(client, **{"class": "Rain"}, params={name[:-1]: bounds["low"]}))["nearest"] == name
    assert refusal(ask(client, **{"class": "Rain"}, params={name: None}))["field"] == f"params.{name}"
    made = ask(client, **{"class": "Rain"}, seed=1, params={name: bounds["low"]})
    assert json.loads(made.headers["x-foleyray-params"])[name] == bounds["low"]


def test_a_pick_is_told_beside_its_sound(client: TestClient, generator: EnsembleSampler) -> None:
    response = ask(client, **{"class": "Rain"}, seed=3)
    [sound] = generator.generate([Request(RAIN, 3)])
    assert sound.pick and response.content == sound.encode("wav")
    assert json.loads(response.headers["x-foleyray-pick"]) == asdict(sound.pick)
    assert set(asdict(sound.pick)) == {"candidate", "score", "rounds", "made", "accepted"}
    assert "x-foleyray-pick" not in ask(client, **{"class": "DogBark"}, seed=3).headers
    body = {"class": "DogBark", "seed": 3}
    [told] = client.post("/v1/sounds", json=body, headers={"Accept": "application/json"}).json()["sounds"]
    assert told["pick"] is None and "selection" not in told["recipe"]


def test_headers_tell_of_several_sounds_what_they_share(generator: EnsembleSampler) -> None:
    one, other = generator.generate(consecutive(RAIN, 0, 2))
    pick = Pick(0, 0.5, 1, 3, True)
    assert "X-Foleyray-Pick" in sound_headers([replace(one, pick=pick), replace(other, pick=pick)])
    assert "X-Foleyray-Pick" not in sound_headers([replace(one, pick=pick), replace(other, pick=None)])
    assert "X-Foleyray-Pick" not in sound_headers([replace(one, pick=None), replace(other, pick=pick)])


def test_a_prompt_needs_no_class(client: TestClient, generator: EnsembleSampler) -> None:
    words = "a dog in the rain, señor \u2603"
    response = ask(client, prompt=words, seed=7)
    [sound] = generator.generate([Request(None, 7, prompt=words)])
    assert response.content == sound.encode("wav")
    assert response.headers["content-disposition"] == f'inline; filename="prompt-{fingerprint(words)}_7.wav"'
    assert "x-foleyray-class" not in response.headers
    raw = dict(response.headers.raw)[b"x-foleyray-prompt"]
    assert raw.isascii() and json.loads(raw) == words
    with soundfile.SoundFile(io.BytesIO(response.content)) as file:
        recipe = json.loads(file.comment)
    assert (recipe["class"], recipe["prompt"]) == (None, words)
    several = ask(client, prompt=words, seed=7, count=2)
    assert f'filename="prompt-{fingerprint(words)}.zip"' in several.headers["content-disposition"]
    both = ask(client, **{"class": "motor"}, prompt=words, seed=7)
    assert both.headers["content-disposition"] == f'inline; filename="MovingMotorVehicle-{fingerprint(words)}_7.wav"'
    assert both.content == generator.generate([Request(4, 7, prompt=words)])[0].encode("wav")


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"class": "DogBark", "prompt": "rain"}, "prompt", "MovingMotorVehicle, Rain"),
        ({"prompt": ""}, "prompt", "1 to 300"),
        ({"prompt": "  "}, "prompt", "1 to 300"),
        ({"prompt": "r" * 301}, "prompt", "1 to 300"),
        ({"prompt": "rain\nX-Foleyray-Class: Rain"}, "prompt", "1 to 300"),
        ({"prompt": 7}, "prompt", "1 to 300"),
        ({"prompt": ["rain"]}, "prompt", "1 to 300"),
        ({"prompt": "rain", "class": "Cat"}, "class", "Rain"),
        ({"prompt": None}, "class", "Rain"),
        ({"class": None}, "class", "Rain"),
        ({"prompt": "zwölf Xylophone"}, "prompt", "words that the text model knows"),
        ({"prompt": "rain", "params": {"truncation": 1.0}}, "params.truncation", "guidance"),
    ],
)
def test_a_wrong_prompt_is_refused(client: TestClient, body: dict[str, Any], field: str, told: str) -> None:
    response = ask(client, **body)
    problem = refusal(response)
    assert problem["field"] == field and told in str(problem["allowed"])
    assert response.content.isascii()


def test_an_unknown_word_is_its_own_requests_fault_alone(generator: EnsembleSampler) -> None:
    requests = [Request(0, 1), Request(None, 2, prompt="xylophone"), Request(RAIN, 3, prompt="rain"), Request(RAIN, 4)]
    first, refused, *others = asyncio.run(Booth(generator, 1).sample(requests))
    assert isinstance(refused, FieldError) and "xylophone" in refused.message
    assert str(pickle.loads(pickle.dumps(refused))) == str(refused)  # noqa: S301
    for answer, request in zip([first, *others], [requests[0], *requests[2:]], strict=True):
        assert isinstance(answer, Sound)
        assert answer.encode("wav") == generator.generate([request])[0].encode("wav")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"class": "\\ud800"}', b"7", b'"Rain"'])
def test_a_body_that_is_no_json_object_is_refused_in_the_same_shape(client: TestClient, body: bytes) -> None:
    assert refusal(client.post("/v1/sounds", content=body))["field"] == "body"


def test_a_body_too_large_is_not_read(client: TestClient) -> None:
    assert client.post("/v1/sounds", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_classes_ensemble_health_and_docs(client: TestClient, generator: EnsembleSampler) -> None:
    classes = client.get("/v1/classes").json()["classes"]
    assert [item["name"] for item in classes] == list(DCASE7.names)
    assert [member["share"] for member in classes[0]["members"]] == [0.7, 0.3]
    assert [[member["takes_prompts"] for member in item["members"]] for item in classes[4:]] == [[True], [True], [False]]
    [rain], [sneeze] = classes[5]["members"], classes[6]["members"]
    assert rain["selection"]["candidates"] == 3 and sneeze["selection"] is None
    ensemble = client.get("/v1/ensemble").json()
    assert ensemble["id"] == generator.roster.id and set(ensemble["ensemble"]["classes"]) == set(DCASE7.names)
    assert client.get("/healthz").json() == {"status": "ok", "ensemble": generator.roster.id}
    assert "swagger" in client.get("/docs").text
    assert client.get("/", follow_redirects=True).url.path == "/docs"
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/sounds", "/v1/classes", "/v1/ensemble", "/healthz"}
    body = paths["/v1/sounds"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["count"]["maximum"] == 4 and body["additionalProperties"] is False
    assert body["properties"]["prompt"]["anyOf"][0]["maxLength"] == 300
    assert body["anyOf"] == [{"required": ["class"]}, {"required": ["prompt"]}]


@pytest.mark.parametrize(("error", "status"), [(Unavailable("one moment"), 503), (RuntimeError("/secret/path"), 500)])
def test_a_failure_is_one_sentence(generator: EnsembleSampler, error: Exception, status: int) -> None:
    async def sample(request: Request) -> Sound:
        raise error

    response = ask(TestClient(create_app(generator.roster, sample, 4)), **{"class": "Rain"})
    assert response.status_code == status
    assert "secret" not in response.text and "Traceback" not in response.text
    assert ("retry-after" in response.headers) == (status == 503)
