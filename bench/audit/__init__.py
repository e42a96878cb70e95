"""Checks whether printed tables are possible, and the tables of the paper."""
