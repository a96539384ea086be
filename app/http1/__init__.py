"""HTTP/1.1 as RFC 9110 and RFC 9112 have it, without I/O, and strict.

`requests` and `responses` take a whole head apart, `fields` is what they share, and `bodies`
follows a body by its framing, both directions alike.
What cannot be read in exactly one way is refused: two parties that read one message differently
are how requests are smuggled.
"""
