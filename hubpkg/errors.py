"""The errors that hubpkg raises for its users: one line that says what was expected, found, where, and what to do."""

from collections.abc import Sequence


class HubpkgError(Exception):
    """The input, the command line or the environment can't be used (exit status 2)."""


class HubpkgWarning(UserWarning):
    """Something that the user should know, and need not act on."""


class CacheWarning(HubpkgWarning):
    """A file in the cache was not what its place says; it was set aside."""


class SlowFrameworkWarning(HubpkgWarning):
    """The installed MindSpore is known to be slow on this device."""


class InvalidDocumentError(HubpkgError):
    """A YAML or JSON document does not fit its schema; holds every fault that was found."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


class CheckpointError(HubpkgError):
    """A checkpoint is unreadable, or its parameters are not those of the network."""


class IntegrityError(HubpkgError):
    """A file's bytes are not the ones that were promised."""


class SignatureError(IntegrityError):
    """A package is not signed by whom it should be, or not as it is."""


class FetchError(HubpkgError):
    """A file could not be fetched; says from where, and why."""


class NotPinnedError(HubpkgError):
    """Nothing says which bytes are the right ones, and nobody said that they are trusted."""


class LogitsError(HubpkgError):
    """A network gives logits that are not finite."""


class EngineError(HubpkgError):
    """An engine is not there, or can't be trusted with the network."""
