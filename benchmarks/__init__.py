"""Measurements of kernels, engines, faces, transport and the whole pipeline, one JSON a run."""
