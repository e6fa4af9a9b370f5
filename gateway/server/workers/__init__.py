"""Several processes that serve together, `--workers N`: one supervisor that serves nothing, and its children.

`supervisor.py` runs in the parent, `member.py` in each worker; they talk over `channel.py`. `together.py` adds up what
the workers count.
"""
