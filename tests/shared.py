"""Where the optional real recordings and weights lie; tests that need them skip where they are missing."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FOLEYRAY_SHARED", Path(__file__).parents[2] / "shared"))

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"needs the recordings and weights of {SHARED.name}/ beside the checkout (or FOLEYRAY_SHARED)"
)
