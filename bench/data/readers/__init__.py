"""Readers of the published datasets, of the user's own folders, and of phantoms."""
