"""Networks and weights as others publish them: found, verified, fetched and read."""
