"""Whatever watches: callables that take a ``Record``. They observe, they never steer."""
