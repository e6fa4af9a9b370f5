"""A model of reload's promise, and random sequences of edits, requests and crashes that hold a real process to it.

`make model` plays 500 sequences that hypothesis draws; the test suite plays some. The model knows from how the texts
were made, not from our compiler, which are valid, and keeps three things: what is on disk, what was the last valid
content, and the generation. After each step the process has to agree, in `/-/config`, `/metrics`, `gateway status` and
its answers.
"""
