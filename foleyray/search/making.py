"""A trial as Ray Tune sees it. Imports next to nothing, so that its process counts as started before it loads anything.

That matters: while a process is starting, Tune gives its trial to any other process that falls free and kills the one
that starts, again and again where starting takes longer than a trial (ray 2.60, `_maybe_reuse_cached_actor`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray import cloudpickle, tune

from foleyray.config import UserError

if TYPE_CHECKING:
    from foleyray.search.evaluator import Evaluator


class Making(tune.Trainable):
    """One step per rung. Tune keeps the process for the next trial, and with it the evaluator and all that it loaded."""

    evaluator: "Evaluator | None" = None

    def setup(self, config: dict[str, Any], make: bytes, seeds: range, rungs: tuple[int, ...]) -> None:
        """`make` is a pickled function that makes the evaluator; it is called in the first step of the process."""
        self.make, self.seeds, self.rungs = make, seeds, rungs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.point = {key: new_config[key] for key in ("label", "candidate", "params")}
        self.scores: Iterator[tuple[int, float]] | None = None
        return True

    def step(self) -> dict[str, Any]:
        try:
            clips, fad = self._climb()
        except UserError as mistake:  # a result, because Tune begins a trial that raises again, which mends nothing here
            return {"clips": 0, "fad": float("inf"), "mistake": str(mistake), "done": True}
        return {"clips": clips, "fad": fad, "done": clips == self.rungs[-1]}

    def _climb(self) -> tuple[int, float]:
        if self.evaluator is None:
            self.evaluator = cloudpickle.loads(self.make)()
        if self.scores is None:
            self.scores = self.evaluator.climb(**self.point, seeds=self.seeds, rungs=self.rungs)
        return next(self.scores)
