"""Latent spaces, and what is done in them with a trained generator: invert, walk, scribble, tune, transfer."""
