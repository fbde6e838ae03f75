"""What can go wrong, by kind; the command line prints any of these as one message."""


class TinyvaeError(Exception):
    """A mistake that its message explains: what, where, the values, the mend."""


class ShapeError(TinyvaeError, ValueError):
    """Arrays whose shapes do not fit together."""


class DtypeError(TinyvaeError, TypeError):
    """A dtype that has no gradient here, or two that would be promoted silently."""


class BackendError(TinyvaeError, RuntimeError):
    """A backend that is unknown, missing, or mixed with another."""


class GraphError(TinyvaeError, RuntimeError):
    """A backward pass that cannot be right: used up, changed since, or without an upstream."""


class NotRecordableError(GraphError):
    """What cannot be repeated blindly, such as to look at a value; or a value that is old."""


class NonFiniteError(TinyvaeError, ArithmeticError):
    """A NaN or an infinity, with the op and the tensor that made it first."""


class OptionError(TinyvaeError, ValueError):
    """A setting outside its range, or a name that is not on the list."""


class DataError(TinyvaeError, ValueError):
    """Data that cannot be found, read, trusted, or used for the loss."""


class RunError(TinyvaeError, ValueError):
    """A run folder or a weights file that cannot be used as asked."""


class MissingExtraError(TinyvaeError, ImportError):
    """An optional package that is needed for this and is not installed."""


class ParallelError(TinyvaeError, RuntimeError):
    """Processes that were not started together, that differ, or that no longer answer."""
