"""Readers of the datasets as they are distributed, of folders of one's own, and of phantoms."""
