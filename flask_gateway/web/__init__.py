"""HTTP: requests become calls, replies and errors become responses. The only rooms that know flask."""
