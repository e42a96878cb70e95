"""The checks that finished cells pass before anything of them is believed."""
