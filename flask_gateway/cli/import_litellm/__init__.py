"""Imports a configuration of LiteLLM Proxy: ``import litellm config.yaml``.

``yaml_tree`` reads the file with its line numbers; ``plan`` decides, without I/O, what each setting becomes;
``gateway_toml`` writes the result; ``command`` reads and writes files. The tables of names are in
``providers``, ``parameters`` and ``left_out``.
"""
