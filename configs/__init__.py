"""Experiments, one a file; `common.py` holds what they share. Each is run by `jaxgan train --config=NAME`."""
