"""Sends a trace of each request to a receiver of OpenTelemetry. Imported only where one is set."""
