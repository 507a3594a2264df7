"""What commands say while they work."""


def say(line: str) -> None:
    """Print a line at once, also into a file."""
    print(line, flush=True)


def silence(line: str) -> None:
    """Print nothing: of several processes one speaks."""
    del line
