"""An upstream that answers by itself."""
