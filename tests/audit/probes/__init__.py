"""The probes: modules with a function `probe`; see `tests/audit/__init__.py`."""
