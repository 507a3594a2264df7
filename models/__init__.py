"""Networks: their definitions, the engines that run them, manifests, the catalogue and the shipped weights.

Importing this package imports neither torch nor a runtime; each engine loads its own when it is asked for.
"""
