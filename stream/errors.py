"""Errors of the live side, sorted by who must act.

A message says what was found, what was expected, and what to do. The command
line prints it as one line and exits with 2; the server answers with a 4xx.
"""


class ConfigError(Exception):
    """The operator must change an option, a file or the installation."""


class MediaError(Exception):
    """A file or a stream is not what it should be; the user must supply another."""


class BackEndError(Exception):
    """A speech back end could not do one piece of work; the original voice goes on, and it is asked again."""


class SessionClosed(Exception):  # noqa: N818 - a normal end, not an error
    """The session ended while something waited on it."""
