"""Recordings in, fixed-shape columns out, on Ray Data."""
