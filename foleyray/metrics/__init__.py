"""Evaluation; knows no generator."""
