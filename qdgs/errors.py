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


OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""How torch tells it, on graphics cards and elsewhere."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in OUT_OF_MEMORY)


def reason_of(error: BaseException) -> str:
    """The first sentence of another library's error, on one line."""
    told = " ".join(str(error).split()).partition(". ")[0]
    return told[:200].rstrip(".") or type(error).__name__
