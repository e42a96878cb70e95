"""What the commands do, behind their options."""
