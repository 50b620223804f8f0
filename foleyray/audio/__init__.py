"""Sound as numbers: pure functions and one module."""
