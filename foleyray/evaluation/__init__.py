"""Sounds in folders or stores against one another: where files meet metrics. The distances live in `metrics/`."""
