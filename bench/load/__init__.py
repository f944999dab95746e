"""The two ends between which a gateway is measured: an upstream and callers, at the speed of raw sockets."""
