"""One folder per generator; they never import one another."""
