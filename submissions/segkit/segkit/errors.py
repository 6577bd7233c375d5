"""What can go wrong in segkit, each with one clear sentence."""


class SegkitError(Exception):
    """Anything segkit refuses to do; the message says what, where and the mend."""


class ImageError(SegkitError):
    """An image that cannot be read as a CT volume."""


class PlanError(SegkitError):
    """A plan, or weights, that do not describe a network segkit can run."""
