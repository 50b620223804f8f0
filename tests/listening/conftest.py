"""One written page with its key, shared by the tests that only read it."""

import pytest

from foleyray.listening.key import Key, load_key
from foleyray.listening.page import Written, write
from foleyray.progress import Quiet
from tests.listening.evalsets import write_evalset


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Written:
    folder = tmp_path_factory.mktemp("listening")
    return write(write_evalset(folder / "evalset"), folder / "listen.html", seed=3, clips_per_set=None, progress=Quiet())


@pytest.fixture(scope="session")
def key(written) -> Key:
    return load_key(written.key)
