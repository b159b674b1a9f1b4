//! The command as a user calls it: what it prints, where, and its exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rorqual::model::{OpenOptions, Pretrained};
use rorqual::reference::Segment;
use rorqual::reference::mla::Form;
use rorqual::verify::FAMILIES;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rorqual(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rorqual")).args(arguments).current_dir(root()).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on stdout")
}

const BUNDLED: &str = "assets/tiny-r1-fp8";

#[test]
fn the_demo_checks_every_family_and_does_sums_on_a_device_and_on_the_reference_path() {
    let output = rorqual(&["--cases", "1", "--device", "sim"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stderr.is_empty(), "{text}\n{stderr}");
    assert!(text.contains(" kernels for sm_90a, "), "{text}");
    for family in FAMILIES {
        let row = text.lines().find(|line| line.split_whitespace().next() == Some(family.name));
        let cases = row.and_then(|row| row.split_whitespace().nth(1));
        assert_eq!(cases, Some("1"), "{} in\n{text}", family.name);
    }
    assert!(text.contains("   538+347=885   right   8+7=15,3+4+1=08,5+3+0=08\n"), "{text}");
    assert!(
        text.contains("16 of 16 right on the device; 16 of 16 the same on the reference path\n"),
        "{text}"
    );
    for table in ["reference, speculative", "simulated, plain", "100 %", "expert load", "layer 1", "layer 2"]
    {
        assert!(text.contains(table), "{table} in\n{text}");
    }
}

#[test]
fn the_demo_reports_a_device_in_json() {
    let report = json(&rorqual(&["--cases", "0", "--sums", "4", "--target", "sm_80", "--json"]));
    assert_eq!((&report["device"], &report["precision"]), (&"sim:1".into(), &"kernel".into()));
    assert_eq!(report["catalog"]["target"], "sm_80");
    assert!(report["catalog"]["kernels"].as_u64().unwrap() > 50, "{}", report["catalog"]);
    assert!(report["families"].is_null(), "0 cases check nothing");
    assert_eq!(report["problems"].as_array().unwrap().len(), 4);
    assert_eq!(report["same_as_reference"], true);
    assert!(report["device_speculative"]["passes"].as_u64() < report["device_plain"]["passes"].as_u64());
}

#[test]
fn an_installed_demo_without_assets_checks_the_kernels_and_says_how_to_get_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let installed = directory.path().join("rorqual");
    std::fs::copy(env!("CARGO_BIN_EXE_rorqual"), &installed).unwrap();
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let demo = |arguments: &[&str]| {
        let output = Command::new(&installed).args(arguments).current_dir(&empty).output().unwrap();
        let [text, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(2), "{text}\n{stderr}");
        let message = "error: the bundled checkpoint assets/tiny-r1-fp8 is not here: it comes with the source \
                       repository; ";
        assert!(stderr.starts_with(message) && stderr.contains("--model"), "{stderr}");
        text
    };
    let text = demo(&["--cases", "1", "--device", "sim"]);
    assert!(text.contains(" kernels for sm_90a, "), "{text}");
    for family in FAMILIES {
        let has_row = text.lines().any(|line| line.split_whitespace().next() == Some(family.name));
        assert!(has_row, "{} in\n{text}", family.name);
    }
    assert_eq!(demo(&["--device", "reference"]), "", "there are no kernels to check");
}

#[test]
fn the_demo_of_the_reference_path_reports_in_json() {
    for precision in ["f32", "kernel"] {
        let arguments =
            ["demo", "--device", "reference", "--json", "--precision", precision, "--threads", "1"];
        let report = json(&rorqual(&arguments));
        assert_eq!(report["precision"], precision);
        assert_eq!(report["device"], "reference");
        assert!(report["catalog"].is_null() && report["same_as_reference"].is_null());
        assert_eq!(report["problems"].as_array().unwrap().len(), 16);
        assert!(report["problems"].as_array().unwrap().iter().all(|problem| problem["correct"] == true));
        assert!(report["speculative"]["acceptance_rate"].as_f64().unwrap() > 0.9);
        assert!(report["speculative"]["passes"].as_u64() < report["plain"]["passes"].as_u64());
        for layer in report["expert_load"].as_array().unwrap() {
            let sum: f64 =
                layer["share"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{layer}");
        }
    }
}

#[test]
fn a_simulated_device_generates_what_the_reference_does() {
    for speculate in [&[][..], &["--speculate"]] {
        let generate = |device: &[&str]| {
            let prompt = ["generate", "--model", BUNDLED, "--prompt", "46+7=", "--json"];
            json(&rorqual(&[&prompt, device, speculate].concat()))
        };
        let expected = generate(&["--precision", "kernel"]);
        let got = generate(&["--device", "sim", "--target", "sm_89"]);
        assert_eq!(got["token_ids"], expected["token_ids"]);
        assert_eq!(got["text"], "<think>6+7=13,4+0+1=05</think>53\n");
        assert_eq!(got["speculation"], expected["speculation"]);
        assert_eq!((&got["device"], &got["precision"]), (&"sim:1".into(), &"kernel".into()));
        let keys = |report: &Value| report.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&got), keys(&expected), "the same shape");
    }
}

#[test]
fn logits_of_a_simulated_device_are_close_to_those_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let logits = |name: &str, device: &[&str]| -> Vec<f32> {
        let out = directory.path().join(name);
        let arguments =
            ["logits", "--model", BUNDLED, "--prompt-ids", "0,10,17,9,18,3", "--out", out.to_str().unwrap()];
        let output = rorqual(&[&arguments, device].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = std::fs::read(&out).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let logits = file.tensor("logits").unwrap();
        assert_eq!(logits.shape(), [6, 64]);
        logits.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let exact = logits("f32", &[]);
    let expected = logits("kernel", &["--precision", "kernel"]);
    let got = logits("sim", &["--device", "sim"]);
    let rms = |a: &[f32], b: &[f32]| {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (sum / a.len() as f64).sqrt()
    };
    // As far from the mathematics as kernel precision is at most, and nearer to the reference of the same precision.
    println!("rms to f32 {}, to kernel {}", rms(&got, &exact), rms(&got, &expected));
    assert!(rms(&got, &exact) <= 0.3 && rms(&got, &expected) <= 0.1);
}

#[test]
fn devices_that_are_not_there_are_refused_with_the_reason() {
    let refused = |command: &[&str]| {
        let output = rorqual(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{command:?}");
        stderr
    };
    // Whether there is a driver or not, there is no such device.
    let listed = json(&rorqual(&["devices", "--json"]));
    let reason = listed["no_cuda_because"].as_str().unwrap_or("there is no CUDA device 99");
    for command in [&["generate", "--prompt", "1"][..], &["logits", "--prompt", "1", "--out", "x"], &["demo"]]
    {
        let refused = refused(&[command, &["--model", BUNDLED, "--device", "cuda:99"]].concat());
        assert!(refused.starts_with(&format!("error: {reason}")), "expected {reason:?} in {refused}");
    }
    let rows: &[(&[&str], &str)] = &[
        (&["--device", "sim:2"], "device sim:2 is not available: the network runs on one device"),
        (&["--device", "sim", "--precision", "f32"], "precision f32 is for the reference path"),
        (&["--device", "sim", "--target", "sm_81"], "sm_81"),
        (&["--device", "sim", "--target", "hopper"], "`hopper` is not a target such as `sm_90a`"),
        (&["--device", "reference", "--target", "sm_80"], "--target sm_80 is for simulated devices"),
        (&["--target", "sm_80"], "expected --device sim with it, got reference"),
        (&["--device", "sim", "--prompt-ids", "64"], "token id 64 at position 0"),
    ];
    for (arguments, message) in rows {
        let prompt: &[&str] = if arguments.contains(&"--prompt-ids") { &[] } else { &["--prompt", "1"] };
        let refused = refused(&[&["generate", "--model", BUNDLED], prompt, arguments].concat());
        assert!(refused.contains(message), "{arguments:?}: expected {message:?} in {refused}");
    }
}

#[test]
fn generate_prints_the_text() {
    let output = rorqual(&["generate", "--model", BUNDLED, "--prompt", "538+347=", "--quiet"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "<think>8+7=15,3+4+1=08,5+3+0=08</think>885\n\n");
    assert!(output.stderr.is_empty());
}

#[test]
fn generate_reports_in_json_and_ids_are_taken_verbatim() {
    let text = json(&rorqual(&["generate", "--model", BUNDLED, "--prompt", "4-3=", "--json"]));
    assert_eq!(text["prompt_ids"], serde_json::json!([0, 10, 17, 9, 18]), "a token begins the text");
    assert_eq!(
        text["token_ids"],
        serde_json::json!([3, 10, 17, 9, 18, 6, 7, 4, 7, 5, 1]),
        "a stop token ends it"
    );
    assert_eq!(text["text"], "<think>4-3=01</think>1\n");
    assert_eq!(text["stop_reason"], "stop_token");

    let ids = json(&rorqual(&["generate", "--model", BUNDLED, "--prompt-ids", "0,10,17,9,18", "--json"]));
    assert_eq!(ids["token_ids"], text["token_ids"]);
    let bare = json(&rorqual(&["generate", "--model", BUNDLED, "--prompt-ids", "10,17,9,18", "--json"]));
    assert_eq!(bare["prompt_ids"], serde_json::json!([10, 17, 9, 18]));

    let on = [
        "generate",
        "--model",
        BUNDLED,
        "--prompt",
        "4-3=",
        "--json",
        "--ignore-eos",
        "--max-new-tokens",
        "20",
    ];
    assert_eq!(json(&rorqual(&on))["token_ids"].as_array().unwrap().len(), 20);

    let speculated =
        json(&rorqual(&["generate", "--model", BUNDLED, "--prompt", "4-3=", "--json", "--speculate"]));
    assert_eq!(speculated["token_ids"], text["token_ids"]);
    assert!(speculated["speculation"]["acceptance_rate"].as_f64().unwrap() > 0.5);

    let draw = |seed: &str| {
        let arguments = [
            "generate",
            "--model",
            "tests/fixtures/tiny-v3",
            "--prompt-ids",
            "0",
            "--json",
            "--temperature",
            "1",
        ];
        json(&rorqual(
            &[&arguments[..], &["--seed", seed, "--max-new-tokens", "12", "--top-k", "50"]].concat(),
        ))
    };
    assert_eq!(draw("3")["token_ids"], draw("3")["token_ids"]);
    assert_ne!(draw("3")["token_ids"], draw("4")["token_ids"]);
}

#[test]
fn logits_are_written_whole() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("logits.safetensors");
    let arguments = ["logits", "--model", BUNDLED, "--prompt-ids", "0,10,17", "--out", out.to_str().unwrap()];
    let output = rorqual(&arguments);
    assert!(output.status.success() && output.stdout.is_empty());
    let bytes = std::fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    assert_eq!((logits.dtype(), logits.shape()), (safetensors::Dtype::F32, &[3, 64][..]));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn logits_of_a_long_prompt_are_those_of_the_library() {
    let model = "tests/fixtures/tiny-v2lite";
    let ids: Vec<u32> = (0..700).map(|i| i * 37 % 512).collect();
    let argument = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let directory = tempfile::tempdir().unwrap();
    // A name as long as names may be, and a link that must stay one.
    let out = directory.path().join("x".repeat(255));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    std::fs::write(&out, "to be replaced").unwrap();
    let arguments =
        ["logits", "--model", model, "--prompt-ids", &argument, "--out", link.to_str().unwrap(), "--json"];
    assert_eq!(json(&rorqual(&arguments))["shape"], serde_json::json!([700, 512]));

    let opened = Pretrained::open(&root().join(model), OpenOptions::default(), &mut |_| {}).unwrap();
    let mut cache = opened.network.new_cache();
    let segment = Segment { tokens: &ids, form: Form::Naive, cache: &mut cache };
    let states = opened.network.forward(&mut [segment], &mut ()).unwrap();
    let expected: Vec<u8> = opened.network.logits(&states).into_iter().flat_map(f32::to_le_bytes).collect();
    let bytes = std::fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensor("logits").unwrap().data() == expected, "the same bits, whatever the chunks");
    assert!(link.is_symlink() && std::fs::read_dir(directory.path()).unwrap().count() == 2);
}

/// What a shell makes of `command`, where `rorqual` is the command under test.
fn shell(command: &str) -> Output {
    let script = format!("rorqual() {{ '{}' \"$@\"; }}; {command}", env!("CARGO_BIN_EXE_rorqual"));
    Command::new("bash").args(["-c", &script]).current_dir(root()).output().unwrap()
}

#[test]
fn odd_streams_are_no_panic() {
    let generate = format!("rorqual generate --model {BUNDLED} --prompt 4-3=");
    let rows = [
        ("stderr full", format!("{generate} 2>/dev/full"), 0),
        ("stderr full, bad input", format!("{generate} --top-k 0 2>/dev/full"), 2),
        ("stdout closed early", format!("{generate} | head -c 0; exit ${{PIPESTATUS[0]}}"), 0),
        ("stdout full", format!("{generate} >/dev/full"), 2),
        ("many threads", format!("{generate} --threads 65535"), 0),
        (
            "a name that is no text",
            format!(
                "d=$(mktemp -d); rorqual logits --model {BUNDLED} --prompt-ids 0 --json --out $d/$'\\xff'; s=$?; rm -r $d; exit $s"
            ),
            0,
        ),
        (
            "a pipe to write",
            format!(
                "d=$(mktemp -d); mkfifo $d/p; cat $d/p >/dev/null & rorqual logits --model {BUNDLED} --prompt-ids 0 --out $d/p; s=$?; test -p $d/p || s=9; rm -r $d; exit $s"
            ),
            0,
        ),
    ];
    for (name, command, status) in rows {
        let output = shell(&command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{name}: {stderr}");
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");
    }
}

#[test]
fn the_demo_takes_its_arguments_without_a_name() {
    let report = json(&rorqual(&["--device", "reference", "--json", "--quiet", "--model", BUNDLED]));
    assert_eq!(report["problems"].as_array().unwrap().len(), 16);
}

#[test]
fn keys_of_the_report_are_always_there() {
    let directory = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join(BUNDLED).join(file), directory.path().join(file)).unwrap();
    }
    let model = directory.path().to_str().unwrap();
    let report = json(&rorqual(&["generate", "--model", model, "--prompt-ids", "0,10,17,9,18", "--json"]));
    for key in ["prompt_ids", "token_ids", "text", "stop_reason", "device", "precision", "speculation"] {
        assert!(report.get(key).is_some(), "{key} in {report}");
    }
    assert!(report["text"].is_null(), "no tokeniser, no text");
}

#[test]
fn devices_are_listed() {
    let report = json(&rorqual(&["devices", "--json"]));
    assert_eq!(report["devices"][0]["device"], "reference");
    assert_eq!(report["devices"][1]["device"], "sim");
    let targets = report["devices"][1]["targets"].as_array().unwrap();
    assert!(["sm_80", "sm_90a"].iter().all(|name| targets.iter().any(|target| target == name)), "{report}");
    // Either the driver is there, or the reason why not.
    let text = String::from_utf8(rorqual(&["devices"]).stdout).unwrap();
    match report["no_cuda_because"].as_str() {
        Some(reason) => assert!(text.contains(&format!("cuda       none: {reason}\n")), "{text}"),
        None => assert!(text.contains("cuda"), "{text}"),
    }
}

#[test]
fn bad_usage_and_bad_input_end_with_status_2_and_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().to_str().unwrap();
    let missing = directory.path().join("missing");
    let out = directory.path().join("out.safetensors");
    let (missing, out) = (missing.to_str().unwrap(), out.to_str().unwrap());
    let generate = ["generate", "--model", BUNDLED];
    let rows: &[(&[&str], &[&str], &str)] = &[
        (&[], &["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["generate"], &["--prompt", "1"], "--model <DIR>"),
        (&generate, &[], "<--prompt <TEXT>|--prompt-ids <IDS>>"),
        (&generate, &["--prompt", "1", "--prompt-ids", "1"], "cannot be used with"),
        (&generate, &["--prompt-ids", "1,x"], "\"x\" is no token id, expected a number below 2^32"),
        (&generate, &["--prompt-ids", "1,-2"], "\"-2\" is no token id"),
        (&generate, &["--prompt-ids", ""], "the prompt is empty, expected at least one token"),
        (&generate, &["--prompt-ids", "64"], "token id 64 at position 0 is outside the vocabulary of 64"),
        (&generate, &["--prompt", "3×4="], "no token for \"×\", which is in the text"),
        (&generate, &["--prompt", "1", "--threads", "0"], "0 is not in 1.."),
        (&generate, &["--prompt", "1", "--device", "tpu"], "expected reference, sim, sim:N, cuda or cuda:I"),
        (&generate, &["--prompt", "1", "--device", "sim:0"], "expected at least one simulated GPU"),
        (&generate, &["--prompt", "1", "--precision", "f64"], "[possible values: f32, kernel]"),
        (&generate, &["--prompt", "1", "--temperature", "-1"], "temperature is -1, expected a finite number"),
        (
            &generate,
            &["--prompt", "1", "--max-new-tokens", "-1"],
            "invalid value '-1' for '--max-new-tokens <N>'",
        ),
        (
            &generate,
            &["--prompt", "1", "--temperature", "nan"],
            "temperature is NaN, expected a finite number",
        ),
        (&generate, &["--prompt", "1", "--top-k", "0"], "top_k is 0, expected at least 1"),
        (&generate, &["--prompt", "1", "--top-p", "0"], "top_p is 0, expected a number above 0"),
        (&["generate", "--model", missing], &["--prompt", "1"], "not a checkpoint: no such directory"),
        (&["generate", "--model", empty], &["--prompt", "1"], "not a checkpoint: expected config.json in it"),
        (
            &["generate", "--model", "README.md"],
            &["--prompt", "1"],
            "README.md: not a checkpoint: not a directory",
        ),
        (
            &["generate", "--model", "tests/fixtures/tiny-v3"],
            &["--prompt", "1", "--speculate"],
            "the checkpoint has no multi-token-prediction module",
        ),
        (&["generate", "--model", "tests/fixtures/tiny-v32"], &["--prompt", "1"], "\"deepseek_v32\""),
        (&["logits", "--model", BUNDLED, "--out", out], &["--prompt-ids", "99"], "token id 99"),
        (
            &["logits", "--model", BUNDLED, "--out", "/"],
            &["--prompt-ids", "9"],
            "expected the name of a file",
        ),
        (
            &["logits", "--model", BUNDLED, "--out", empty],
            &["--prompt-ids", "9"],
            "expected the name of a file",
        ),
        (
            &["logits", "--model", BUNDLED, "--out", "assets/tiny-r1-fp8/model.safetensors"],
            &["--prompt-ids", "9"],
            "model.safetensors: is a file of the checkpoint, expected another",
        ),
        (
            &["logits", "--model", BUNDLED, "--out", "missing/x"],
            &["--prompt-ids", "9"],
            "missing/x: No such file",
        ),
        (&["demo", "--device", "reference", "--model", empty], &[], "not a checkpoint"),
        (&["demo", "--sums", "17"], &[], "17 is not in 1..=16"),
        (&["demo", "--cases", "-1"], &[], "invalid value '-1' for '--cases <N>'"),
    ];
    for (command, arguments, message) in rows {
        let output = rorqual(&[*command, *arguments].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?} {arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{command:?} {arguments:?}: expected {message:?} in\n{stderr}");
        assert!(output.stdout.is_empty(), "{command:?} {arguments:?}");
    }
    assert_eq!(std::fs::read_dir(empty).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_demo_that_gets_a_sum_wrong_ends_with_status_1() {
    // A network that turns its keys at other frequencies still runs, and reasons wrongly.
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join(BUNDLED)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"rope_theta\": 10000.0", "\"rope_theta\": 3.0")).unwrap();
    let model = directory.path().to_str().unwrap();
    let output = rorqual(&["demo", "--device", "reference", "--model", model]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: wrong answers: "));
}
