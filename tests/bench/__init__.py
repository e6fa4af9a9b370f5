"""How fast the gateway is, beside nginx, a plain aiohttp relay and other gateways, on the loopback of one machine.

`make bench` measures all of it and prints tables; `python -m tests.bench --help` says how to choose. Everything that
is measured is a process of its own on one core; the load and the upstream have the other cores.
"""
