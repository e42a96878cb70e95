"""The parts of a report: each turns results into tables and notes."""
