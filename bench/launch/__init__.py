"""Where cells run, never what they do.

Every launcher runs each cell by `local`, on whatever machine.
"""
