"""Training material: clips and portraits in, cached crops with their mel and mouth tracks out."""
