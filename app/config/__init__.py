"""What the operator of a balancer may set: the process (`settings`) and a pool (`workerpool`).

Both are pydantic models, frozen once read. What cannot be accepted is a `ConfigError` that lists
every problem at once with its place, what was found and what is allowed; pydantic's own texts
reach nobody. Callers: `app.cli` and `app.runtime`. Nothing here opens a socket.

- `settings`: the process, from flags and `LEASTWISE_*` variables.
- `workerpool`: the spec of a pool, the one schema behind the file and the custom resource.
- `loading`: a file into a WorkerPool. `watching`: the same, again and again.
- `addresses`, `durations`: the two notations that both use. `fields`: what pydantic needs of them.
- `yamltext`, `explain`, `errors`: strict YAML, and problems in words.
"""
