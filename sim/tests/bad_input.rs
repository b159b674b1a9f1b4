//! `ptxsim` with input that cannot be run: exit status 2 and a message that says what is wrong and where. Also its other
//! exit statuses, and the JSON that it prints.
#![cfg(feature = "ptxsim")]

#[path = "bad_input/buffers.rs"]
mod buffers;
#[path = "bad_input/edit.rs"]
mod edit;
#[path = "bad_input/launch_files.rs"]
mod launch_files;
#[path = "bad_input/launches.rs"]
mod launches;
#[path = "bad_input/modules.rs"]
mod modules;
#[path = "bad_input/tensor_maps.rs"]
mod tensor_maps;
#[path = "bad_input/usage.rs"]
mod usage;

use edit::Edit;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is wrong, how the right files are changed, and the message of `ptxsim run launch.json`.
type Row = (&'static str, &'static [Edit], &'static str);

/// All rows.
const ROWS: [&[Row]; 5] =
    [launch_files::ROWS, modules::ROWS, launches::ROWS, buffers::ROWS, tensor_maps::ROWS];

/// A launch file and a module that are right.
const LAUNCH: &str = include_str!("bad_input/launch.json");
const KERNELS: &str = include_str!("bad_input/kernels.ptx");

/// A folder with a launch file and modules, which `ptxsim` runs in.
struct Case {
    folder: PathBuf,
}

impl Case {
    /// The right files, changed.
    fn new(name: &str, edits: &[Edit]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad_input").join(name.replace(' ', "_"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let case = Self { folder };
        let mut launch: Value = serde_json::from_str(LAUNCH).expect("JSON");
        let mut kernels = KERNELS.to_owned();
        edits.iter().for_each(|edit| edit.apply(&mut launch, &mut kernels));
        case.write("launch.json", launch.to_string().as_bytes());
        case.write("kernels.ptx", kernels.as_bytes());
        for edit in edits {
            match *edit {
                Edit::File(name, bytes) => case.write(name, bytes),
                Edit::Missing(name) => {
                    std::fs::remove_file(case.folder.join(name)).expect("a file to remove")
                }
                _ => {}
            }
        }
        case
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.join(name), bytes).expect("a file");
    }

    fn ptxsim(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ptxsim"));
        command.current_dir(&self.folder).args(arguments).output().expect("ptxsim starts")
    }
}

/// What is wrong with an output that must be bad input with a message.
fn check_refusal(output: &Output, message: &str) -> Result<(), String> {
    let (status, text) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    if status == Some(2) && output.stdout.is_empty() && text.trim_end() == message {
        return Ok(());
    }
    Err(format!("exits with {status:?} and says\n{text}\ninstead of\n{message}"))
}

#[test]
fn bad_input_is_refused_with_a_message() {
    let mut failures = Vec::new();
    for (name, edits, message) in ROWS.into_iter().flatten() {
        let output = Case::new(name, edits).ptxsim(&["run", "launch.json"]);
        if let Err(error) = check_refusal(&output, &format!("error: {message}")) {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{} rows:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn bad_usage_is_refused_with_a_message() {
    let case = Case::new("usage", &[]);
    let mut failures = Vec::new();
    for (arguments, message) in usage::ROWS {
        if let Err(error) = check_refusal(&case.ptxsim(arguments), message) {
            failures.push(format!("{arguments:?}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_files_that_the_rows_change_are_right() {
    let output = Case::new("right", &[]).ptxsim(&["run", "launch.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    let output = Case::new("right module", &[]).ptxsim(&["check", "kernels.ptx"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "kernels.ptx: sm_90a with 10 functions, no errors\n");
}

/// A folder whose launch file is about another kernel of the module.
fn case_of(kernel: &str, name: &str) -> Case {
    let case = Case::new(name, &[]);
    case.write("launch.json", LAUNCH.replace("\"scale\"", &format!("\"{kernel}\"")).as_bytes());
    case
}

/// A launch of a kernel of the module, with `--json`: exit status, standard error and the JSON.
fn run_json(kernel: &str, options: &[&str]) -> (Option<i32>, String, Value) {
    let case = case_of(kernel, &format!("{kernel} {}", options.join(" ")));
    let output = case.ptxsim(&[&["run", "launch.json", "--json"], options].concat());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.matches('\n').count(), 1, "one line of JSON: {text}");
    let value = serde_json::from_str(&text).expect("JSON on standard output");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), value)
}

#[test]
fn a_right_program_exits_with_0() {
    let (status, errors, value) = run_json("scale", &[]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert_eq!(
        value,
        json!({
            "verdict": "ok",
            "reports": [],
            "warnings": [],
            "checks": ["bounds", "init", "race", "sync"],
            "seed": 0,
            "schedule": "random",
            "runs": 1,
            "output": "",
        })
    );
}

#[test]
fn what_printf_writes_is_on_standard_output() {
    let output = case_of("speak", "speak as text").ptxsim(&["run", "launch.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hi\n".repeat(32));
    let (_, _, value) = run_json("speak", &[]);
    assert_eq!(value["output"], json!("hi\n".repeat(32)));
}

#[test]
fn an_undefined_program_exits_with_1() {
    let (status, errors, value) = run_json("skip", &[]);
    let message = "access at offset 128 of 4 bytes is beyond the end of buffer `data` of 128 bytes";
    let line = line_of("st.global.f32 [%rd1+128], %f1;");
    assert_eq!(status, Some(1));
    assert_eq!(
        errors,
        format!(
            "undefined [bounds] in skip, line {line}, warp 0 of CTA (0, 0, 0): lane 0: {message}\n\
             again with --seed 0 --schedule random\n"
        )
    );
    let report = json!({
        "rule": "bounds",
        "kernel": "skip",
        "line": line,
        "other_line": null,
        "cta": [0, 0, 0],
        "warp": 0,
        "source": null,
        "message": format!("lane 0: {message}"),
    });
    assert_eq!(value["verdict"], json!("undefined"));
    assert_eq!(value["reports"], json!([report]));
}

#[test]
fn a_deadlocked_program_exits_with_1() {
    let (status, errors, value) = run_json("hang", &[]);
    assert_eq!(status, Some(1));
    assert!(errors.starts_with("deadlock [deadlock] in hang, line "), "{errors}");
    assert_eq!(value["verdict"], json!("deadlock"));
    assert_eq!(value["reports"][0]["rule"], json!("deadlock"));
    assert_eq!((&value["reports"][0]["cta"], &value["reports"][0]["warp"]), (&Value::Null, &Value::Null));
}

#[test]
fn an_inconclusive_run_exits_with_3() {
    let (status, errors, value) = run_json("im2col", &[]);
    assert_eq!(status, Some(3));
    assert!(errors.starts_with("unsupported [unsupported] in im2col, line "), "{errors}");
    assert_eq!(value["verdict"], json!("unsupported"));
    let (status, errors, value) = run_json("scale", &["--budget", "3"]);
    assert_eq!(status, Some(3));
    assert_eq!(
        errors,
        "limit [instruction-budget] in scale: the launch issued more than 3 warp instructions\n"
    );
    assert_eq!(value["verdict"], json!("limit"));
    assert_eq!((&value["reports"][0]["line"], &value["reports"][0]["kernel"]), (&json!(0), &json!("scale")));
}

/// Right PTX that the parser leaves out is neither wrong nor bad input.
#[test]
fn a_texture_is_inconclusive() {
    let fetch = "tex.1d.v4.f32.s32 {%f1, %f1, %f1, %f1}, [%rd1, {%r1}];\n    mul.rn.f32 %f3, %f2, %f1";
    let case = Case::new("texture", &[Edit::Replace("mul.rn.f32 %f3, %f2, %f1", fetch)]);
    let line = line_of("mul.rn.f32 %f3, %f2, %f1;");
    let wrong = format!("line {line}, column 5: `tex.1d.v4.f32.s32` is not supported");
    let output = case.ptxsim(&["run", "launch.json", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((&value["verdict"], &value["reports"][0]["line"]), (&json!("unsupported"), &json!(line)));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("unsupported [unsupported] in scale, line {line}: the module does not load: {wrong}\n")
    );
    let output = case.ptxsim(&["check", "kernels.ptx"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("unsupported: kernels.ptx: {wrong}\n"));
}

/// `.target` is found where the parser finds it: not in a comment, and up to one.
#[test]
fn comments_do_not_name_the_target() {
    let comment = "/* of the time of\n.target sm_80\n*/\n.version";
    let case = Case::new(
        "target in a comment",
        &[Edit::Replace(".version", comment), Edit::Replace(".target sm_90a", ".target sm_90a// Hopper")],
    );
    let output = case.ptxsim(&["run", "launch.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn checks_can_be_chosen() {
    let (status, _, value) = run_json("forget", &[]);
    assert_eq!((status, &value["reports"][0]["rule"]), (Some(1), &json!("uninitialized-output")));
    let (status, _, value) = run_json("forget", &["--check", "sync,bounds"]);
    assert_eq!((status, &value["checks"]), (Some(0), &json!(["bounds", "sync"])));
}

/// Warp 1 stores a word, warp 0 reads it some time later and traps if it is not there.
const IMPATIENT: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry impatient(.param .u64 data, .param .f32 factor)
{
    .reg .pred %p<3>;
    .reg .b32 %r<4>;
    .shared .align 4 .b8 word[4];
    mov.u32 %r1, %tid.x;
    setp.eq.u32 %p1, %r1, 32;
    @%p1 st.volatile.shared.u32 [word], 7;
    setp.ge.u32 %p2, %r1, 32;
    @%p2 ret;
    mov.u32 %r2, 0;
again:
    add.u32 %r2, %r2, 1;
    setp.lt.u32 %p1, %r2, 500;
    @%p1 bra again;
    ld.volatile.shared.u32 %r3, [word];
    setp.ne.u32 %p1, %r3, 7;
    @%p1 trap;
    ret;
}
";

#[test]
fn a_sweep_shrinks_the_first_failure_to_what_can_be_run_again() {
    let case = case_of("impatient", "impatient");
    let mut launch: Value = serde_json::from_str(LAUNCH).expect("JSON");
    (launch["launches"][0]["kernel"], launch["launches"][0]["block"]) =
        (json!("impatient"), json!([64, 1, 1]));
    case.write("launch.json", launch.to_string().as_bytes());
    case.write("kernels.ptx", IMPATIENT.as_bytes());
    let run = |options: &[&str]| {
        let arguments = [&["run", "launch.json", "--json", "--check", "bounds,sync"], options].concat();
        let output = case.ptxsim(&arguments);
        let value: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
        (output.status.code(), value, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, _, errors) = run(&[]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let (status, swept, errors) = run(&["--sweep", "20", "--seed", "5"]);
    assert_eq!((status, &swept["reports"][0]["rule"]), (Some(1), &json!("trap")));
    let schedule = swept["schedule"].as_str().expect("a schedule");
    assert!(schedule.contains(",until="), "{schedule} is not shrunk");
    let seed = swept["seed"].to_string();
    assert!(errors.contains(&format!("again with --seed {seed} --schedule {schedule}\n")), "{errors}");
    let (status, again, _) = run(&["--seed", &seed, "--schedule", schedule]);
    assert_eq!((status, &again["reports"]), (Some(1), &swept["reports"]));
}

#[test]
fn older_values_take_the_check_of_races() {
    let case = case_of("scale", "stale reads");
    let output = case.ptxsim(&["run", "launch.json", "--check", "bounds", "--stale-reads"]);
    let expected =
        "error: older values (`--stale-reads`, or `stale` in the schedule) take the check `race`\n";
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(2), expected));
    let output = case.ptxsim(&["run", "launch.json", "--stale-reads"]);
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
}

#[test]
fn counters_are_written() {
    let case = Case::new("counters", &[]);
    let count = |options: &[&str]| {
        let output = case.ptxsim(&[&["run", "launch.json", "--counters", "counters.json"], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(case.folder.join("counters.json")).expect("the counters");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        value["launches"][0].clone()
    };
    let launch = count(&[]);
    assert_eq!(launch["kernel"], json!("scale"));
    assert_eq!((&launch["global_read_bytes"], &launch["global_written_bytes"]), (&json!(128), &json!(128)));
    assert_eq!(launch["fetched_bytes"], json!(0), "no cache was asked for");
    for cache in ["--l2", "--l2=4096"] {
        assert_eq!(count(&[cache])["fetched_bytes"], json!(128));
    }
}

#[test]
fn buffers_are_saved() {
    let edits = &[Edit::Set("/buffers/data/save", "\"data.bin\"")];
    let case = Case::new("saved", edits);
    assert_eq!(case.ptxsim(&["run", "launch.json"]).status.code(), Some(0));
    let saved = std::fs::read(case.folder.join("data.bin")).expect("the buffer");
    assert_eq!(saved, 2f32.to_le_bytes().repeat(32));
}

/// The line of the module that an instruction is in.
fn line_of(instruction: &str) -> usize {
    KERNELS.lines().position(|line| line.trim() == instruction).expect("the instruction") + 1
}
