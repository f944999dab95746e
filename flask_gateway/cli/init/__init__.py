"""Makes a settings file from the model servers and provider keys of this machine: ``flask-gateway init``."""
