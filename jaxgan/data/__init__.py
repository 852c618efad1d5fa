"""Images in: sets by name, batches in a reproducible order, and the tool that prepares sets from pictures.

`sources.open_images` opens a set, `pipeline.batches` yields from it, `prepare.prepare` makes one. Nothing here imports
JAX, except Grain, which does so when `pipeline.batches` is called.
"""
