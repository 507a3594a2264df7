"""Offline: material, recipes, evaluation, export. Meets the live side only through an engine and its manifest."""
