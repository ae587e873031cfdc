"""Python's garbage collector in processes of tests, which make more objects in a minute than others in a day."""

import gc

_NEW_OBJECTS = 50_000
"""At so many it looks for garbage among them; Python's 700 have it take a fifteenth of these tests' time."""


def collect_seldom() -> None:
    """Has it look for garbage less often."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def keep() -> None:
    """Has it leave alone what the imports made, a million objects of Keras alone, whose memory forks then share."""
    gc.collect()
    gc.freeze()
