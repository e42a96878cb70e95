"""The table as a paper wants it: own names, order, metrics, groups and notes."""
