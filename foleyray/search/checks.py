"""What a search looks at before it begins: are there clips enough, and processors."""

import os

from foleyray.config import UserError
from foleyray.corpus.store import Store
from foleyray.search.config import SearchConfig

FEWEST_CLIPS = 2


def check_split(store: Store, split: str) -> None:
    """Raises UserError where a class has too few clips for a distance."""
    poor = [name for name, count in store.counts[split].items() if count < FEWEST_CLIPS]
    if poor:
        raise UserError(
            f"the split '{split}' of {store.path} has fewer than {FEWEST_CLIPS} clips of {', '.join(poor)}; "
            f"a distance needs at least {FEWEST_CLIPS}, so add recordings and build the corpus again"
        )


def check_machine(settings: SearchConfig) -> None:
    """Raises UserError where a trial would wait for ever. A cluster that was joined may grow, so it is not asked."""
    import ray

    present = ray.cluster_resources()
    wanted = {"CPU": settings.cpus_per_trial, "GPU": settings.gpus_per_trial}
    for kind, share in wanted.items():
        if share > present.get(kind, 0.0) and "RAY_ADDRESS" not in os.environ:
            raise UserError(
                f"search.{kind.lower()}s_per_trial is {share:g}, but this machine has {present.get(kind, 0.0):g}; lower it"
            )
