"""x"""


def in_flight(c):
    return None
