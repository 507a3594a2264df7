"""Measures that carry the names of published standards, and need the weights of these standards to do so.

The user brings the weights; a file that is not the standard's own, by its hash, is refused. Without weights nothing
here runs, and no figure carries these names.
"""
