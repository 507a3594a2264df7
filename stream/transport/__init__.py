"""The only door to aiortc: receive, decode, encode and send on one timeline."""
