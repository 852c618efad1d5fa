"""Trained networks in and out of single files."""
