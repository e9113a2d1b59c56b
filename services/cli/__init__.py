"""The command line: one file per group of commands, each a thin caller of the layers below."""
