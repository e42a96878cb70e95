"""What printed tables cannot be, and the tables of the paper."""
