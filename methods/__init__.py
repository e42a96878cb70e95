"""The compared methods, one file each; the harness finds them by their entry points."""
