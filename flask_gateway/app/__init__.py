"""Builds a gateway from settings, and replaces it when settings change."""
