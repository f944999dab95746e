"""Finds the caller behind an API key, and slows down guessing of keys."""
