"""Frozen measuring networks, in Flax; their parameters carry the names of the published state dicts."""
