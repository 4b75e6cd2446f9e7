"""`python -m metatc2` is `metatc2`."""

from metatc2.cli.app import main

if __name__ == "__main__":
    main()
