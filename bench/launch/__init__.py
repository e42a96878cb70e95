"""Where cells run, never what they do."""
