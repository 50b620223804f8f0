"""Sampling parameters against a distance, on Ray Tune with Optuna; winners become an ensemble."""
