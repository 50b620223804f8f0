"""foleyray trains, searches and serves generators of foley sound. This file holds the version only."""

__version__ = "0.1.0"
