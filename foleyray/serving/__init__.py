"""Sounds over HTTP, on Ray Serve."""
