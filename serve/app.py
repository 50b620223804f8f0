"""Door for Ray Serve, from the top of a checkout; with the package installed, `foleyray.serving.app:build` is the same.

serve run serve.app:build ensemble=runs/demo
serve deploy serve/config.yaml
"""

from foleyray.serving.app import build

__all__ = ["build"]
