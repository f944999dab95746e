"""Serves the SDK of LiteLLM in a process of its own (extra ``litellm``)."""
