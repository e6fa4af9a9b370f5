"""Answers that are kept: equal requests get them without a call, or when the whole chain fails.

`store` is what a home of answers has to do, `memory` the one in this process. `keys` says which requests are equal,
`control` what the client's `Cache-Control` asks for, `keepable` what may be kept. `cache` answers requests by these,
`flights` has equal requests wait for the first.
"""
