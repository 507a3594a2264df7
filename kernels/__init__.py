"""Pixels and sound around the networks: each op has a NumPy definition and a fast CPU form.

The definition says what an op means, the fast form is what runs, and the tests
hold the two together. Nothing here knows networks, media containers or time.
"""
