"""What a paper takes from a report: its numbers, and the check of its text."""
