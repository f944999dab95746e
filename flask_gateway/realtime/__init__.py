"""Relays WebSocket sessions of the Realtime and Responses APIs, without threads (extra ``realtime``)."""
