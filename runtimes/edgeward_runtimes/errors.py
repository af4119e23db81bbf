"""Every error that edgeward raises, in one tree.

    EdgewardError
    ├── InputError              what you passed to predict, or a data file
    ├── ConfigError             a configuration file or an option
    ├── BundleError             an .edge file
    │   ├── NotABundleError         not a zip at all
    │   ├── TruncatedBundleError    the file ends too early
    │   ├── DigestError             bytes differ from what was sealed
    │   ├── UnsafePathError         a member would leave the bundle
    │   ├── OversizeError           a member has more bytes than declared
    │   ├── SchemaError             the manifest is malformed or from the future
    │   ├── MissingFileError        declared, but not in the bundle
    │   └── UndeclaredFileError     in the bundle, but not declared
    ├── EngineError             this machine's engine cannot do it
    │   └── EngineMissingError      no engine for it is installed
    ├── InstallError            this device cannot take or change a release
    │   ├── SelfTestError           no variant passed its golden samples
    │   └── NotInstalledError       no such model or release here
    ├── ConversionError         the host's converter
    │   ├── SourceError             the model to convert
    │   └── WorkerCrashError        a native crash inside a worker process
    ├── DeviceError             the other side: a device or its transport
    ├── MonitorError            the fleet monitor, its broker or its store
    ├── UpdateError             the signed registry has nothing that this device may install
    │   ├── NotEnrolledError        no root of trust here yet
    │   ├── UnsignedError, WrongKeyError, RevokedKeyError      whose signature
    │   ├── ExpiredMetadataError, MetadataRollbackError, OlderReleaseError      when
    │   ├── MixedMetadataError, MalformedMetadataError         which files
    │   ├── TruncatedDownloadError, EndlessDownloadError, TamperedDownloadError
    │   ├── NotPublishedError, RegistryUnreachableError
    │   └── DeltaError              the whole file is taken then
    └── RegistryError           the publisher's side: its folder, its keys, what is to be added

Each message names the thing, what was expected, what came, and what to do next.
"""


class EdgewardError(Exception):
    """Base of every error that edgeward raises on purpose."""


class InputError(EdgewardError):
    """An input tensor or a data file does not fit the model."""


class ConfigError(EdgewardError):
    """A configuration file or an option is wrong."""


class BundleError(EdgewardError):
    """A bundle cannot be trusted or read."""


class NotABundleError(BundleError):
    """The file is not a zip archive."""


class TruncatedBundleError(BundleError):
    """The archive ends before its directory does."""


class DigestError(BundleError):
    """Bytes differ from those that were sealed."""


class UnsafePathError(BundleError):
    """A member's path would leave the bundle's folder."""


class OversizeError(BundleError):
    """A member holds more bytes than the manifest declares."""


class SchemaError(BundleError):
    """The manifest does not follow a schema that this version reads."""


class MissingFileError(BundleError):
    """The manifest declares a file that the bundle does not hold."""


class UndeclaredFileError(BundleError):
    """The bundle holds a file that the manifest does not declare."""


class EngineError(EdgewardError):
    """An engine on this machine failed to open or run a variant."""


class EngineMissingError(EngineError):
    """No installed engine can run what was asked for."""


class InstallError(EdgewardError):
    """A release could not be installed, rolled back or found."""


class SelfTestError(InstallError):
    """No variant of a release reproduced the golden samples on this device."""


class NotInstalledError(InstallError):
    """No such model or release is installed here."""


class ConversionError(EdgewardError):
    """A model could not be converted within what was allowed."""


class SourceError(ConversionError):
    """The source model cannot be read."""


class WorkerCrashError(ConversionError):
    """A worker process died of a native crash."""


class DeviceError(EdgewardError):
    """A device, or the way to it, failed."""


class MonitorError(EdgewardError):
    """The fleet monitor, its broker or its store failed."""


class UpdateError(EdgewardError):
    """The signed registry has nothing that this device may install."""


class NotEnrolledError(UpdateError):
    """This device has no trusted root yet, and so nobody to believe."""


class UnsignedError(UpdateError):
    """A bundle, or a metadata file, that nobody signed."""


class WrongKeyError(UpdateError):
    """Signed, but not by enough of the keys that this device trusts."""


class RevokedKeyError(UpdateError):
    """Signed by a key that was trusted once and was revoked since."""


class ExpiredMetadataError(UpdateError):
    """Metadata past its date: somebody may be holding newer metadata back (a freeze attack)."""


class MetadataRollbackError(UpdateError):
    """Metadata older than this device has already seen (a rollback attack)."""


class OlderReleaseError(UpdateError):
    """A release older than the installed one (a rollback attack by whoever may command the device)."""


class MixedMetadataError(UpdateError):
    """Metadata files that were never published together (a mix-and-match attack)."""


class MalformedMetadataError(UpdateError):
    """A metadata file that cannot be read."""


class TruncatedDownloadError(UpdateError):
    """A file that ends before its signed length."""


class EndlessDownloadError(UpdateError):
    """A file that goes on past its signed length, or comes too slowly to ever end."""


class TamperedDownloadError(UpdateError):
    """A file whose digest is not the signed one."""


class NotPublishedError(UpdateError):
    """The registry does not list such a model or version."""


class RegistryUnreachableError(UpdateError):
    """The registry does not answer, or not with what was asked for."""


class DeltaError(UpdateError):
    """A delta that does not lead to the release that it promises; the whole file is taken then."""


class RegistryError(EdgewardError):
    """The publisher's side of the registry: its folder, its keys, or what is to be added."""


def one_line(error: BaseException) -> str:
    """What foreign code said of its failure, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def of_system(error: OSError) -> str:
    """The sentence for what the operating system refused."""
    return f"{error.filename or 'the system'}: {error.strerror or error}. Mend that and try again."
