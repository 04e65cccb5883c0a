"""What can go wrong, said once and in one sentence."""


class QdgsError(Exception):
    """Anything that qdgs itself gives up on: the message is one clear sentence (exit code 1)."""


class InputError(QdgsError):
    """The user's input is wrong: names the place, what was expected, what came, what to do (exit code 2)."""


class ConfigError(InputError):
    """A configuration does not hold: `place: expected …, got …`."""


class MissingPackageError(InputError):
    """An optional package is not installed; the message holds the command that installs it."""


class MissingModelError(InputError):
    """The files of a model are not on this machine; the message says how to get them."""


class CorruptFileError(InputError):
    """A file that qdgs wrote or ships cannot be read or fails its hash."""


class GeneratorError(QdgsError):
    """A generator broke its contract: NaN, a wrong shape or values outside [0, 1]."""
