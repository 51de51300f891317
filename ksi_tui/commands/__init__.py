"""The commands, one module each: `execute(options) -> exit code`.

The command line imports a command's module when that command was asked for, so each
imports at its top what it needs.
"""
