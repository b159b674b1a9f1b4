//! Arguments that `ptxsim` does not understand.

/// The arguments, and what it must say.
pub const ROWS: &[(&[&str], &str)] = &[
    (
        &["launch"],
        r#"error: unrecognized subcommand 'launch'

Usage: ptxsim <COMMAND>

For more information, try '--help'."#,
    ),
    (
        &["run"],
        r#"error: the following required arguments were not provided:
  <LAUNCH>

Usage: ptxsim run <LAUNCH>

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--xyzzy"],
        r#"error: unexpected argument '--xyzzy' found

  tip: to pass '--xyzzy' as a value, use '-- --xyzzy'

Usage: ptxsim run <LAUNCH>

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--check", "races"],
        "error: check `races` is not built; there are all, bounds, init, race, sync, race=strict, warp, warp=report, \
         warp=warn, warp=ignore",
    ),
    (
        &["run", "launch.json", "--schedule", "random,copies=later"],
        r#"error: invalid value 'random,copies=later' for '--schedule <SCHEDULE>': `copies=later` in the schedule `random,copies=later`: expected early or late

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--sweep", "2", "--schedule", "random"],
        r#"error: the argument '--sweep <SEEDS>' cannot be used with '--schedule <SCHEDULE>'

Usage: ptxsim run --sweep <SEEDS> <LAUNCH>

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--seed", "-1"],
        r#"error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: ptxsim run [OPTIONS] <LAUNCH>

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--precision", "fast"],
        r#"error: invalid value 'fast' for '--precision <PRECISION>'
  [possible values: exact, hardware]

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--budget", "many"],
        r#"error: invalid value 'many' for '--budget <BUDGET>': invalid digit found in string

For more information, try '--help'."#,
    ),
    (
        &["run", "launch.json", "--counters", "missing/counters.json"],
        "error: cannot write missing/counters.json: No such file or directory (os error 2)",
    ),
    (
        &["check"],
        r#"error: the following required arguments were not provided:
  <FILE>

Usage: ptxsim check <FILE>

For more information, try '--help'."#,
    ),
    (&["check", "kernel.ptx"], "error: kernel.ptx: No such file or directory (os error 2)"),
    (&["check", "launch.json"], "error: launch.json: line 1, column 1: expected `.version`, found `{`"),
];
