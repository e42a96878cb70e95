"""verdiff-bench: compare methods of 2D medical image segmentation, and defend every number."""
