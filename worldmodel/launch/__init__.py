"""Where programs run: launchers, processes, and the hardware that they find."""
