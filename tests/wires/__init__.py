"""Scripted upstreams that speak every wire, and the vendors' own clients against them and against the gateway."""
