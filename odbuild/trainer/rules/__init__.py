"""What would go wrong, as small checks with a code each."""
