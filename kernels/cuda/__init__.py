"""CUDA forms of the kernels: sources, job tables, and how they are compiled. Nothing here needs a GPU to import."""
