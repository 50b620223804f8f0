"""Networks and stages used by two or more systems."""
