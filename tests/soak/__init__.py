"""Long and heavy loads against whole engines, which end with a verdict: `python -m tests.soak`.

`storm` plays every fault many at a time, `cancelling` cancels a thousand at once, `enduring` runs
an hour's worth of everything and looks for what grows. Faults played one at a time are
`tests.faults`; what kills the process is none of this.
"""
