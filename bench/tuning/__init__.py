"""Studies of options by the validation patients, for `bench tune`."""
