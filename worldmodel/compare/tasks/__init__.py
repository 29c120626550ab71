"""Fixed data and small models on which samplers and optimisers are compared."""
