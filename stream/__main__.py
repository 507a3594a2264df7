"""`python -m stream` is `visavis`."""

from stream.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
