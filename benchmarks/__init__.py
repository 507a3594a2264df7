"""Measurements: kernels, engines, faces, transport and the whole pipeline, as JSON with the machine beside the figure."""
