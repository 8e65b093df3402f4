"""``python -m metamix``: the command line without its console script."""

from metamix.cli import main

if __name__ == "__main__":
    main()
