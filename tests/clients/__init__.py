"""`make clients`: clients that people use, in their default mode, straight at an upstream and through the gateway.

Each is a program of its own, installed below `.bench/clients`. A client is given a base URL, a key and a model, nothing
else. Every stream is also broken at every place: then the client has a whole answer, or says that it has none.
"""
