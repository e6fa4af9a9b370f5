"""What replicas have in common, in a Redis: `--state`.

`options` reads the flags. `link` is one connection: what one turn of the event loop asks for goes out together,
and nothing is waited for longer than `--state-timeout`. `limits` is the engine's store of buckets over it, with
`owners` between it and its scripts, which are the `.lua` files beside it; `looks` keeps right what is known of buckets
between requests. The library is loaded by `link`, once the server listens.
"""
