"""The HTTP application: routes, headers and encodings. Knows no Ray; whoever creates it brings the way to sample."""

import asyncio
import base64
import io
import json
import logging
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

import fastapi
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from foleyray import __version__
from foleyray.audio.wav import FORMATS, Format
from foleyray.generation import FieldError, Part, Recipe, Request, Roster, Sound
from foleyray.selection import Pick
from foleyray.serving.api import (
    ClassAnswer,
    ClassesAnswer,
    EnsembleAnswer,
    HealthAnswer,
    MemberAnswer,
    Refusal,
    Refused,
    SoundAnswer,
    SoundsAnswer,
    SoundsRequest,
    read_request,
)

Sample = Callable[[Request], Awaitable[Sound]]

MAX_BODY_BYTES = 64 * 2**10
logger = logging.getLogger("foleyray.serving")


class Unavailable(Exception):
    """No generator can answer now; the same request may succeed later."""


def create_app(roster: Roster, sample: Sample, max_count: int) -> FastAPI:
    """The application that answers for `roster`; `sample` is awaited once a sound, may raise Unavailable or FieldError."""
    app = FastAPI(title="foleyray", version=__version__, description=_description(roster), redoc_url=None)
    app.add_exception_handler(Refused, _refuse)

    @app.post("/v1/sounds", openapi_extra=_body(roster, max_count), responses=_RESPONSES, response_class=Response)
    async def sounds(request: fastapi.Request) -> Response:
        """Makes `count` sounds of a class or a prompt: one audio file, a zip of several, or JSON where `Accept` asks for it."""
        wanted, form = read_request(await _read(request), roster.ensemble.class_list, max_count)
        try:
            for one in wanted:
                roster.take(one)
        except FieldError as problem:
            raise Refused(problem) from None
        made = await _all(sample, wanted)
        return await run_in_threadpool(_answer, made, form, request.headers.get("accept", ""))

    @app.get("/v1/classes")
    async def classes() -> ClassesAnswer:
        """Every class with its members, their sampling parameters and the bounds of these."""
        return _classes(roster)

    @app.get("/v1/ensemble")
    async def ensemble() -> EnsembleAnswer:
        """What is served: members, checkpoints, shares, and the evidence on which each was promoted."""
        return EnsembleAnswer(id=roster.id, ensemble=roster.ensemble)

    @app.get("/healthz")
    async def healthz() -> HealthAnswer:
        """Answers as long as the server takes requests, however busy its generators are."""
        return HealthAnswer(status="ok", ensemble=roster.id)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("docs")

    return app


async def _read(request: fastapi.Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def _all(sample: Sample, requests: Sequence[Request]) -> list[Sound]:
    try:
        return await asyncio.gather(*(sample(request) for request in requests))
    except FieldError as problem:
        raise Refused(problem) from None
    except Unavailable as error:
        raise HTTPException(503, str(error), {"Retry-After": "1"}) from None
    except Exception:
        logger.exception("a sound could not be made")
        raise HTTPException(500, "the sound could not be made; the server's log says why") from None


def _refuse(request: fastapi.Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(error.body, 422, media_type="application/json")


def _answer(sounds: Sequence[Sound], form: Format, accept: str) -> Response:
    files = [(sound.recipe.file_name(form), sound.encode(form)) for sound in sounds]
    headers = sound_headers(sounds)
    if "application/json" in accept:
        answers = (
            SoundAnswer(name=name, audio=base64.b64encode(content).decode(), recipe=sound.recipe, pick=sound.pick)
            for (name, content), sound in zip(files, sounds, strict=True)
        )
        return Response(SoundsAnswer(sounds=tuple(answers)).model_dump_json(), headers=headers, media_type="application/json")
    if len(files) == 1 and "application/zip" not in accept:
        (name, content), media_type = files[0], FORMATS[form]
    else:
        name, content, media_type = f"{sounds[0].recipe.kind}.zip", _zip(files), "application/zip"
    headers["Content-Disposition"] = f'inline; filename="{name}"'
    return Response(content, headers=headers, media_type=media_type)


def sound_headers(sounds: Sequence[Sound]) -> dict[str, str]:
    """What the sounds share, in ASCII; of several sounds the seed is the first one's, and what differs is left to the files."""
    first, *others = [{**_of_recipe(sound.recipe), **_of_pick(sound.pick)} for sound in sounds]
    shared = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    return {"X-Foleyray-Seed": str(sounds[0].recipe.seed), **shared}


def _of_recipe(recipe: Recipe) -> dict[str, str]:
    return {
        **({"X-Foleyray-Class": recipe.class_name} if recipe.class_name else {}),
        **({"X-Foleyray-Prompt": json.dumps(recipe.prompt)} if recipe.prompt else {}),
        "X-Foleyray-System": recipe.system,
        "X-Foleyray-Ensemble": recipe.ensemble,
        "X-Foleyray-Checkpoints": json.dumps(recipe.checkpoints),
        "X-Foleyray-Params": json.dumps(recipe.params),
    }


def _of_pick(pick: Pick | None) -> dict[str, str]:
    return {"X-Foleyray-Pick": json.dumps(asdict(pick))} if pick else {}


def _zip(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Stored, not compressed, with a fixed date: equal sounds give equal bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


def _classes(roster: Roster) -> ClassesAnswer:
    classes = roster.ensemble.class_list
    return ClassesAnswer(
        classes=tuple(
            ClassAnswer(
                name=name,
                aliases=tuple(alias for alias, target in classes.aliases.items() if target == name),
                members=tuple(_member(part) for part in parts),
            )
            for name, parts in roster.parts.items()
        )
    )


def _member(part: Part) -> MemberAnswer:
    return MemberAnswer(
        system=part.system.name,
        share=part.member.share,
        params=part.space(),
        takes_prompts=part.member.takes_prompts,
        selection=part.member.selection,
    )


def _description(roster: Roster) -> str:
    names = roster.ensemble.class_list.names
    clip, prompted = roster.ensemble.clip, roster.prompted
    words = f"With a prompt, and with or without its class: {', '.join(prompted)}." if prompted else "None takes prompts."
    return (
        f"Foley sounds of {clip.seconds:g} s at {clip.sample_rate_hz} Hz. Classes: {', '.join(names)}. {words}\n\n"
        f'    curl -o sound.wav http://HOST:PORT/v1/sounds --json \'{{"class": "{names[0]}", "seed": 7}}\''
    )


def _body(roster: Roster, max_count: int) -> dict[str, Any]:
    schema = SoundsRequest.model_json_schema()
    names = roster.ensemble.class_list.names
    schema["properties"]["count"]["maximum"] = max_count
    schema["properties"]["class"]["examples"] = list(names)
    schema["anyOf"] = [{"required": ["class"]}, {"required": ["prompt"]}]
    schema["properties"]["params"]["additionalProperties"] = {"type": ["number", "string"]}
    example = {"class": names[0], "seed": 7}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The sounds. Headers X-Foleyray-Seed, -Class, -Prompt (a JSON string), -System, -Ensemble, -Checkpoints "
        "and -Params tell the recipe, which each file holds in its comment field too; X-Foleyray-Pick tells in JSON what a "
        "selection came to: candidate, score, rounds, made, accepted.",
        "model": SoundsAnswer,
        "content": {"audio/wav": _BINARY, "audio/flac": _BINARY, "application/zip": _BINARY},
    },
    413: {"description": "The body is too large."},
    422: {"description": "The request is wrong: every wrong field, what it may be, and the nearest match.", "model": Refusal},
    500: {"description": "The sound could not be made."},
    503: {"description": "No generator can answer now; ask again after Retry-After seconds."},
}
