"""The command line: parse, one call into `lsml.jobs`, print."""
