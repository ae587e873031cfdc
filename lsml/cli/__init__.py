"""The command line: parse, one call into `lsml.workflows`, print."""
