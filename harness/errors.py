"""Errors that a person can act on: each says what, where and the mend, and carries an exit code."""

from __future__ import annotations

from evaluator.errors import ReportedError

EXIT_OK = 0
EXIT_SUBMISSION_FAILED = 1
EXIT_USAGE = 2
EXIT_PREREQUISITE_MISSING = 3
EXIT_INFRASTRUCTURE = 4
EXIT_INTERRUPTED = 130


class HarnessError(ReportedError):
    """A failure that the command line shows as one line, without a traceback; see `ReportedError`."""

    exit_code = EXIT_INFRASTRUCTURE


class ConfigurationError(HarnessError):
    """The request itself cannot be carried out: a wrong name, folder, file or option."""

    exit_code = EXIT_USAGE


class PrerequisiteError(HarnessError):
    """This host lacks something: a container engine, a GPU, disk space, a program."""

    exit_code = EXIT_PREREQUISITE_MISSING


class SubmissionError(HarnessError):
    """The submission breaks the contract before a case could be run: no predict.sh, no build, no image."""

    exit_code = EXIT_SUBMISSION_FAILED


class InfrastructureError(HarnessError):
    """The harness's own side failed: the engine went away, the disk filled, a file was damaged."""

    exit_code = EXIT_INFRASTRUCTURE
