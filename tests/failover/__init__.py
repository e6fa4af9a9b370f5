"""Every way an upstream can fail, as scenarios that can be run against any OpenAI-compatible endpoint.

`python -m tests.failover` runs them against this gateway; `--help` says how to run them against another.
"""
