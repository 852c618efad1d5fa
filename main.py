"""`python main.py VERB --config=... --workdir=...`: the command line from a checkout."""

from jaxgan.cli import main

if __name__ == "__main__":
    main()
