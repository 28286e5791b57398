"""``python -m coldhouse`` is the same as ``coldhouse``."""

from coldhouse.cli.main import main

if __name__ == "__main__":
    main()
