"""Safe readers of other programs' weight files: tensors come out as NumPy arrays, nothing in a file is executed."""
