"""The request's way: from a client's connection to a worker's and back.

`listener` accepts; `downstream` reads requests off a client's connection, one after the other;
`exchange` takes one request through its life (admission, attempts, answer); `connections` keeps
idle worker connections and opens new ones; `upstream` speaks to the worker; `headers` and
`responses` write heads; `tunnel` takes over after a WebSocket's handshake. Everything is a
callback on one thread: no task, future or timer per request.
"""
