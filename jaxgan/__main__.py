"""`python -m jaxgan VERB`."""

from jaxgan.cli import main

if __name__ == "__main__":
    main()
