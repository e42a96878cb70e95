"""What a run is made of: names, options, profiles, cells, contracts of methods and datasets."""
