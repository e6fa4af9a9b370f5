"""Every way an upstream can fail, on each wire, as scenarios that can be run against any endpoint.

`python -m tests.failover` runs them against this gateway; `--help` says how to run them against another.
"""
