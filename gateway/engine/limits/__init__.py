"""Limits: how much the clients of a group may ask for, and how much a provider may be asked.

`sliding`, `windows` and `leases` say what fits into a bucket, as plain functions over frozen values. `store` is what a
home of buckets has to do, `memory` the one in this process, `workers` that of several. `admission` lets a request in
and settles it at its end.
"""
