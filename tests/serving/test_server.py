"""The server on Ray: settings, and real HTTP under concurrent load."""

import asyncio
import io
import json
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.generation import EnsembleSampler, Recipe, Request, consecutive, open_generator
from foleyray.serving.app import build, served
from tests.ensembles import write_ensemble_of_every_system


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ensemble_of_every_system(tmp_path_factory.mktemp("ensemble"))


@pytest.fixture(scope="module")
def generator(ensemble: Path) -> EnsembleSampler:
    return open_generator(ensemble)


@pytest.fixture(scope="module")
def url(ensemble: Path, ray_session: None) -> Iterator[str]:
    with served(ensemble, 0, settings={"max_batch": 8}) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_batch": 16, "max_ongoing": 8}, "batches could never fill"),
        ({"max_bach": 8}, "did you mean 'max_batch'"),
        ({"max_batch": "many"}, "max_batch"),
    ],
)
def test_settings_amiss_are_refused_when_the_application_is_built(ensemble: Path, settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        build({"ensemble": str(ensemble), **settings})


def test_settings_amiss_are_refused_before_ray_starts(tmp_path: Path, ensemble: Path) -> None:
    with pytest.raises(UserError, match="no ensemble at"), served(tmp_path / "none"):
        pass
    with pytest.raises(UserError, match="could never fill"), served(ensemble, settings={"max_ongoing": 1}):
        pass


def test_a_port_that_is_taken_is_refused(ensemble: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="cannot listen on"), served(ensemble, other.getsockname()[1]):
            pass


@pytest.mark.ray
def test_one_sound_of_each_class_over_http(client: httpx.Client, generator: EnsembleSampler) -> None:
    for label, name in enumerate(DCASE7.names):
        response = client.post("/v1/sounds", json={"class": name, "seed": 11})
        assert response.status_code == 200
        assert response.content == generator.generate([Request(label, 11)])[0].encode("wav")
        with soundfile.SoundFile(io.BytesIO(response.content)) as file:
            assert (file.samplerate, file.frames) == (22_050, 88_200)
            recipe = Recipe.model_validate_json(file.comment)
        assert recipe.class_name == name
        assert recipe.system == {4: "ldm", 5: "ldm", 6: "vqvae_pixelsnail"}.get(label, "contrastive_gan")
        assert ("x-foleyray-pick" in response.headers) == (name == "Rain")


@pytest.mark.ray
def test_24_concurrent_requests_get_the_sounds_of_generate(url: str, generator: EnsembleSampler) -> None:
    requests = [Request(seed % 7, seed) for seed in range(24)]
    busy: list[float] = []

    async def ask(client: httpx.AsyncClient, request: Request) -> bytes:
        body = {"class": DCASE7.names[request.label], "seed": request.seed, "format": "flac"}
        response = await client.post("/v1/sounds", json=body)
        assert response.status_code == 200, response.text
        return response.content

    async def health(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            response = await client.get("/healthz")
            busy.append(response.elapsed.total_seconds())

    async def ask_all() -> list[bytes]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            answers = asyncio.gather(*(ask(client, request) for request in requests))
            await health(client)
            return await answers

    answers = asyncio.run(ask_all())
    assert answers == [sound.encode("flac") for sound in generator.generate(requests)]
    assert max(busy) < 5


@pytest.mark.ray
def test_prompts_over_http_and_one_of_unknown_words_among_them(url: str, generator: EnsembleSampler) -> None:
    requests = [Request(4 if seed % 2 else None, seed, prompt="a dog in the rain") for seed in range(8)]

    async def ask(client: httpx.AsyncClient, request: Request) -> httpx.Response:
        named = {} if request.label is None else {"class": DCASE7.names[request.label]}
        return await client.post("/v1/sounds", json={"prompt": request.prompt, "seed": request.seed, **named})

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            asked = [*requests[:4], Request(None, 2, prompt="xylophone"), *requests[4:]]
            return await asyncio.gather(*(ask(client, request) for request in asked))

    answers = asyncio.run(ask_all())
    refused = answers.pop(4)
    assert refused.status_code == 422
    [problem] = refused.json()["detail"]
    assert problem["field"] == "prompt" and "xylophone" in problem["message"]
    for answer, sound in zip(answers, generator.generate(requests), strict=True):
        assert answer.content == sound.encode("wav")
        assert json.loads(answer.headers["x-foleyray-prompt"]) == "a dog in the rain"
        picked = json.loads(answer.headers.get("x-foleyray-pick", "null"))
        assert picked == (sound.pick and asdict(sound.pick))


@pytest.mark.ray
def test_several_sounds_and_refusals_over_http(client: httpx.Client, generator: EnsembleSampler) -> None:
    response = client.post("/v1/sounds", json={"class": "DogBark", "seed": 3, "count": 10})
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    sounds = generator.generate(consecutive(0, 3, 10))
    assert [archive.read(name) for name in archive.namelist()] == [sound.encode("wav") for sound in sounds]
    for body, field in [
        ({"class": "DogBrk"}, "class"),
        ({"class": "Rain", "count": 17}, "count"),
        ({"class": "DogBark", "prompt": "rain"}, "prompt"),
    ]:
        refused = client.post("/v1/sounds", json=body)
        assert (refused.status_code, refused.json()["detail"][0]["field"]) == (422, field)
    assert client.post("/v1/sounds", content=b"{").status_code == 422
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/docs").status_code == 200
    assert client.get("/v1/ensemble").json()["id"] == generator.roster.id


@pytest.mark.ray
def test_a_second_server_on_the_same_ray_is_refused(url: str, ensemble: Path) -> None:
    with pytest.raises(UserError, match="already runs"), served(ensemble, 0):
        pass
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


@pytest.mark.ray
def test_a_lost_generator_is_told_and_replaced(client: httpx.Client, generator: EnsembleSampler) -> None:
    import ray

    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    [replica] = [name for name in names if name.startswith("SERVE_REPLICA::foleyray#contrastive_gan#")]
    body = {"class": "Footstep", "seed": 2, "count": 16}
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(client.post, "/v1/sounds", json=body)
        ray.kill(ray.get_actor(replica, namespace="serve"), no_restart=True)
        answers = [before.result()]
    while answers[-1].status_code != 200:
        assert len(answers) < 240
        time.sleep(0.5)
        answers.append(client.post("/v1/sounds", json=body))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all("ask again" in answer.json()["detail"] for answer in answers if answer.status_code == 503)
    archive = zipfile.ZipFile(io.BytesIO(answers[-1].content))
    sounds = generator.generate(consecutive(1, 2, 16))
    assert [archive.read(name) for name in archive.namelist()] == [sound.encode("wav") for sound in sounds]
