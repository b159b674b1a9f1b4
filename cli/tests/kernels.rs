//! `rorqual emit` and `rorqual verify` as a user calls them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rorqual::catalog::{AnySpec, contract::Contract, rows_for};
use serde_json::Value;

fn rorqual(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_rorqual")).args(arguments).current_dir(root).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on stdout")
}

fn refused(arguments: &[&str], status: i32) -> String {
    let output = rorqual(arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

const FIELDS: &str = r#"{"hidden":200,"x_pitch":256,"residual":true,"bf16":true,"fp8":"power_of_two"}"#;

#[test]
fn emit_writes_text_and_contract_of_one_kernel() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("a/b");
    let path = out.to_str().unwrap();
    let arguments =
        ["emit", "--target", "sm_80", "--family", "rms_norm", "--spec", FIELDS, "--out", path, "--json"];
    let report = json(&rorqual(&arguments));
    assert_eq!(report["kernels"], serde_json::json!(["rms_norm_h200_p256_residual_bf16_fp8pow2_sm80"]));
    assert_eq!(report["target"], "sm_80");
    let name = report["kernels"][0].as_str().unwrap();
    let ptx = fs::read_to_string(out.join(format!("{name}.ptx"))).unwrap();
    assert!(ptx.contains(".target sm_80") && ptx.contains(&format!(".entry {name}(")), "{ptx}");

    let description: Value =
        serde_json::from_str(&fs::read_to_string(out.join(format!("{name}.json"))).unwrap()).unwrap();
    assert_eq!(description["ptx"], format!("{name}.ptx"));
    assert_eq!(description["sha256"].as_str().map(str::len), Some(64));
    let contract = &description["contract"];
    assert_eq!(contract["target"], "sm_80");
    assert_eq!(contract["parameters"][0]["name"], "x");
    assert_eq!(contract["parameters"][0]["kind"]["pointer"], serde_json::json!(["bf16", "in"]));
    assert_eq!(contract["grid"][0]["argument"], "tokens");
    // What was written is enough to make the same kernel, and to launch it.
    let spec = AnySpec::from_json(None, &description["spec"].to_string()).unwrap();
    let kernel = spec.generate("sm_80".parse().unwrap()).unwrap();
    assert_eq!(kernel.text(), ptx);
    assert_eq!(serde_json::from_value::<Contract>(contract.clone()).unwrap(), kernel.contract);
}

#[test]
fn emit_writes_the_catalog() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let report = json(&rorqual(&["emit", "--out", path, "--json"]));
    assert_eq!(report["target"], "sm_90a");
    let kernels = report["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), rows_for("sm_90a".parse().unwrap()).len());
    for name in kernels {
        let name = name.as_str().unwrap();
        assert!(name.ends_with("_sm90a"), "{name}");
        assert!(["ptx", "json"].iter().all(|end| directory.path().join(format!("{name}.{end}")).exists()));
    }
    let output = rorqual(&["emit", "--family", "rms_norm", "--target", "sm_120", "--out", path]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && lines.lines().all(|name| name.starts_with("rms_norm_")), "{lines}");
}

#[test]
fn emit_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let path = out.to_str().unwrap();
    let emit = |more: &[&str]| refused(&[&["emit", "--out", path], more].concat(), 2);
    assert!(
        emit(&["--target", "sm_81"])
            .starts_with("error: sm_81 is not a known target, expected one of sm_80, ")
    );
    assert!(emit(&["--target", "hopper"]).contains("`hopper` is not a target such as `sm_90a`"));
    assert!(emit(&["--family", "norm"]).starts_with("error: `norm` is not a family, expected one of "));
    assert!(emit(&["--spec", FIELDS]).contains("`family` is missing"));
    assert!(emit(&["--family", "rms_norm", "--spec", "{}"]).contains("missing field `hidden`"));
    let zero = FIELDS.replace("200", "0");
    assert!(emit(&["--family", "rms_norm", "--spec", &zero]).contains("`hidden` is 0, expected 1 to 65536"));
    assert_eq!(fs::read_dir(&out).map(Iterator::count).unwrap_or(0), 0, "nothing is written");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&["emit", "--out", file.to_str().unwrap()], 2).contains("file"));
}

#[test]
fn verify_prints_a_table_and_json() {
    let output = rorqual(&["verify", "--family", "rms_norm", "--cases", "3", "--seed", "5"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{table}");
    let row = table.lines().find(|line| line.starts_with("rms_norm ")).expect("a line of the family");
    assert_eq!(row.split_whitespace().nth(1), Some("3"), "{table}");
    assert!(row.contains(" 3/3 "), "{table}");

    let arguments =
        ["verify", "--family", "rms_norm", "--cases", "3", "--seed", "5", "--device", "sim:1", "--json"];
    let [report, again] = [(), ()].map(|()| json(&rorqual(&arguments)));
    let family = &report["families"][0];
    assert_eq!((&family["family"], &family["passed"]), (&"rms_norm".into(), &3.into()));
    assert!(family["worst_error"].as_f64().unwrap() <= 1.0);
    assert!(family["failure"].is_null());
    let rules = family["rules"].as_array().expect("a list");
    assert_eq!(rules.len(), 3, "{rules:?}");
    assert!(rules.iter().all(|rule| rule["refused"].as_u64() > Some(0)), "{rules:?}");
    // The same seed is the same cases.
    assert_eq!(again["families"][0]["worst_error"], family["worst_error"]);
    assert_eq!(again["families"][0]["worst_case"], family["worst_case"]);
}

#[test]
fn verify_says_what_is_wrong() {
    let verify = |more: &[&str]| refused(&[&["verify"], more].concat(), 2);
    assert!(
        verify(&["--family", "norm"]).starts_with("error: `norm` is not a family, expected one of rms_norm")
    );
    assert!(verify(&["--cases", "0"]).starts_with("error: --cases is 0"));
    assert!(verify(&["--cases", "-1"]).contains("invalid value"));
    assert!(verify(&["--device", "reference"]).contains("expected sim, cuda or cuda:I"));
    assert!(verify(&["--device", "sim:2"]).contains("sim:2 is not available"));
    assert!(verify(&["--device", "cuda:99"]).starts_with("error: "));
}
