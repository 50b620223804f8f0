"""Training of any stage: the one loop, and its workers on Ray Train."""
