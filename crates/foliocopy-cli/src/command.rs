//! The subcommands, a file each: `Args` says what it takes, `run` does it.
