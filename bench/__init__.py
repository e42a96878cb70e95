"""verdiff-bench: a benchmark for 2D medical image segmentation whose every number can be defended."""
