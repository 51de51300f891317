"""Every fault of an upstream, what the contract says of it, and a stage to play it on.

`matrix` says what has to happen, `stage` lets it happen through a whole engine with a real
provider worker, `document` writes both down: `python -m tests.faults`.
"""
