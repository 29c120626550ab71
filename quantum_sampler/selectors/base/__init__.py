"""What selectors are made of: sets of items, features, sum trees, plans."""
