"""Identifies callers by JSON Web Tokens of a company login. Imported only where the settings name it."""
