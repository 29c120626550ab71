"""D-Wave's annealers, and Ocean's mock of them."""
