"""What happens inside one cell: train, predict, score, write."""
