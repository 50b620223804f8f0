"""The HTTP application without Ray: validation, headers, encodings, errors."""

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import soundfile
from starlette.testclient import TestClient

from foleyray.clips import DCASE7
from foleyray.generation import EnsembleSampler, Request, Sound, consecutive, open_generator
from foleyray.serving.routes import MAX_BODY_BYTES, Unavailable, create_app
from tests.ensembles import write_tiny_ensemble


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSampler:
    return open_generator(write_tiny_ensemble(tmp_path_factory.mktemp("ensemble")))


@pytest.fixture(scope="module")
def client(generator: EnsembleSampler) -> Iterator[TestClient]:
    async def sample(request: Request) -> Sound:
        return (await asyncio.to_thread(generator.generate, [request]))[0]

    with TestClient(create_app(generator.roster, sample, max_count=4)) as client:
        yield client


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
    sounds = generator.generate(consecutive(5, 1, 2))
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


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"class": "\\ud800"}', b"7", b'"Rain"'])
def test_a_body_that_is_no_json_object_is_refused_in_the_same_shape(client: TestClient, body: bytes) -> None:
    assert refusal(client.post("/v1/sounds", content=body))["field"] == "body"


def test_a_body_too_large_is_not_read(client: TestClient) -> None:
    assert client.post("/v1/sounds", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_classes_ensemble_health_and_docs(client: TestClient, generator: EnsembleSampler) -> None:
    classes = client.get("/v1/classes").json()["classes"]
    assert [item["name"] for item in classes] == list(DCASE7.names)
    assert [member["share"] for member in classes[0]["members"]] == [0.7, 0.3]
    ensemble = client.get("/v1/ensemble").json()
    assert ensemble["id"] == generator.roster.id and set(ensemble["ensemble"]["classes"]) == set(DCASE7.names)
    assert client.get("/healthz").json() == {"status": "ok", "ensemble": generator.roster.id}
    assert "swagger" in client.get("/docs").text
    assert client.get("/", follow_redirects=True).url.path == "/docs"
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/sounds", "/v1/classes", "/v1/ensemble", "/healthz"}
    body = paths["/v1/sounds"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["count"]["maximum"] == 4 and body["additionalProperties"] is False


@pytest.mark.parametrize(("error", "status"), [(Unavailable("one moment"), 503), (RuntimeError("/secret/path"), 500)])
def test_a_failure_is_one_sentence(generator: EnsembleSampler, error: Exception, status: int) -> None:
    async def sample(request: Request) -> Sound:
        raise error

    response = ask(TestClient(create_app(generator.roster, sample, 4)), **{"class": "Rain"})
    assert response.status_code == status
    assert "secret" not in response.text and "Traceback" not in response.text
    assert ("retry-after" in response.headers) == (status == 503)
