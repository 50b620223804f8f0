"""The front door as a deployment: the HTTP application, whose sounds come from the generators' handles."""

from collections.abc import Mapping

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from foleyray.ensemble import Ensemble
from foleyray.generation import FieldError, Request, Roster, Sound
from foleyray.serving.routes import Unavailable, create_app


@serve.ingress()
class Ingress:
    """Holds no weights: draws the member that answers, and asks the generator of its system."""

    def __init__(self, ensemble: Ensemble, max_count: int, generators: Mapping[str, DeploymentHandle]) -> None:
        self.roster, self.max_count, self.generators = Roster(ensemble), max_count, generators

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self.roster, self.sample, self.max_count)

    async def sample(self, request: Request) -> Sound:
        """Raises FieldError for a prompt of unknown words, Unavailable where the generator is gone, going, or too busy."""
        system = self.roster.take(request).part.system.name
        try:
            answer: Sound | FieldError = await self.generators[system].sample.remote(request)
        except BackPressureError:
            raise Unavailable(f"too many requests are waiting for {system}; ask again in a moment") from None
        except (RayActorError, DeploymentUnavailableError, ReplicaUnavailableError):
            raise Unavailable(f"the generator {system} was lost and is being started again; ask again in a moment") from None
        if isinstance(answer, FieldError):
            raise answer
        return answer
