"""Damage: what is wrong with a sound file, whatever its form."""


class DamagedSound(ValueError):
    """A file that does not hold all that it should; its text says what is missing."""


CUT_SHORT = "; copy or make it again"
"""What to do about a file that is cut short."""
# Bytes that are no sound and yet no damage: programs pad files, and decoders skip as much.
JUNK = 1024
