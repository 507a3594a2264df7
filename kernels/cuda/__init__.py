"""CUDA forms of the kernels: sources, their job tables, and how they are compiled. Nothing here needs a GPU to import."""
