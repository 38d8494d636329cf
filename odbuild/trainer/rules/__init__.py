"""What would go wrong, as small checks with a code each: those of datasets, records and label maps.

A conversion needs few of them, so whoever wants all imports `every`.
"""
