"""Keeps answers and gives them again to an equal request. Imported only where a model asks for it."""
