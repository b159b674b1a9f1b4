//! `rorqual emit`: kernels as files, `NAME.ptx` and `NAME.json`.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use rorqual::catalog::{AnySpec, Artifact, Catalog, Target, rows, text_hash};
use serde_json::{Value, json};

use crate::arguments::EmitArguments;
use crate::failure::{Failure, say};

/// Writes the kernels that were asked for.
pub fn run(arguments: &EmitArguments) -> Result<(), Failure> {
    let EmitArguments { target, out, json, .. } = arguments;
    let specs = specs(arguments)?;
    let describe =
        |path: &Path, error: std::io::Error| Failure::input(format_args!("{}: {error}", path.display()));
    fs::create_dir_all(out).map_err(|error| describe(out, error))?;
    let catalog = Catalog::new();
    let mut written = Vec::new();
    for spec in specs {
        let artifact = catalog.kernel(&spec, *target).map_err(Failure::input)?;
        let name = &artifact.contract.kernel;
        let [ptx, contract] = ["ptx", "json"].map(|extension| out.join(format!("{name}.{extension}")));
        fs::write(&ptx, &artifact.ptx).map_err(|error| describe(&ptx, error))?;
        let text = serde_json::to_string_pretty(&description(&spec, &artifact)?).map_err(Failure::input)?;
        fs::write(&contract, text + "\n").map_err(|error| describe(&contract, error))?;
        written.push(name.clone());
    }
    let mut stdout = stdout().lock();
    if *json {
        let report = json!({"target": target.to_string(), "out": out.to_string_lossy(), "kernels": written});
        writeln!(stdout, "{report}")?;
    } else {
        for name in &written {
            writeln!(stdout, "{name}")?;
        }
        say(format_args!("{} kernels for {target} in {}", written.len(), out.display()));
    }
    Ok(())
}

/// The specialisation that was given, else the rows of the catalog that there are for the target.
fn specs(arguments: &EmitArguments) -> Result<Vec<AnySpec>, Failure> {
    let EmitArguments { target, family, spec, .. } = arguments;
    if !Target::known().any(|known| known == *target) {
        let known: Vec<String> = Target::known().map(|target| target.to_string()).collect();
        return Err(Failure::input(format_args!(
            "{target} is not a known target, expected one of {}",
            known.join(", ")
        )));
    }
    let family = family.as_deref();
    if let Some(spec) = spec {
        return Ok(vec![AnySpec::from_json(family, spec).map_err(Failure::input)?]);
    }
    if let Some(name) = family.filter(|name| !AnySpec::FAMILIES.contains(name)) {
        return Err(Failure::input(format_args!(
            "`{name}` is not a family, expected one of {}",
            AnySpec::FAMILIES.join(", ")
        )));
    }
    // Of a family that was named all rows: a target that it does not serve is refused in words.
    let rows = rows().into_iter().map(|row| row.spec);
    Ok(rows.filter(|spec| family.map_or(spec.serves(*target), |family| family == spec.family())).collect())
}

/// What `NAME.json` holds: the specialisation, the contract of a launch, and which text they are of.
fn description(spec: &AnySpec, artifact: &Artifact) -> Result<Value, Failure> {
    let spec: Value = serde_json::from_str(&spec.to_json()).map_err(Failure::input)?;
    Ok(json!({
        "ptx": format!("{}.ptx", artifact.contract.kernel),
        "sha256": text_hash(artifact),
        "spec": spec,
        "contract": serde_json::to_value(&artifact.contract).map_err(Failure::input)?,
    }))
}
