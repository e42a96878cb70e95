"""What a run is made of: names, options, profiles, cells, and the contracts of methods and datasets."""
