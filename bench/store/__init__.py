"""Results on disk: the only room that knows the names of their files and folders."""
