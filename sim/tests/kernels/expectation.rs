//! What the outputs of a case must be, and the comparison: element by element, non-finite values equal.

use rorqual_sim::Precision;
use rorqual_sim::launch_file::{FileOutcome, LaunchFile};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// `expect.json`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    outputs: BTreeMap<String, Output>,
    stdout: Option<String>,
    #[serde(rename = "what")]
    _what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    file: String,
    dtype: String,
    #[serde(default)]
    abs: f64,
    #[serde(default)]
    rel: f64,
    #[serde(default)]
    exact: bool,
    hardware: Option<Tolerance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tolerance {
    #[serde(default)]
    abs: f64,
    #[serde(default)]
    rel: f64,
}

impl Expectation {
    /// Reads the expectation of a case.
    pub fn read(case: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(case.join("expect.json")).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Compares what was saved.
    pub fn compare(
        &self,
        case: &Path,
        file: &LaunchFile,
        outcome: &FileOutcome,
        precision: Precision,
    ) -> Result<(), String> {
        if let Some(expected) = &self.stdout {
            let text = String::from_utf8_lossy(&outcome.output);
            if text != *expected {
                return Err(format!("printed {text:?}, expected {expected:?}"));
            }
        }
        if self.outputs.is_empty() && self.stdout.is_none() {
            return Err("the case expects nothing".to_owned());
        }
        for (name, output) in &self.outputs {
            let got = outcome.saved.get(name).ok_or_else(|| format!("buffer `{name}` is not saved"))?;
            let want = std::fs::read(case.join(&output.file)).map_err(|error| error.to_string())?;
            let dtype = file.buffers[name].dtype.as_deref().unwrap_or("u64");
            output.compare(name, got, dtype, &want, precision)?;
        }
        Ok(())
    }
}

impl Output {
    fn compare(
        &self,
        name: &str,
        got: &[u8],
        dtype: &str,
        want: &[u8],
        precision: Precision,
    ) -> Result<(), String> {
        if self.exact && dtype == self.dtype {
            let width = width(dtype);
            let mut pairs = got.chunks(width).zip(want.chunks(width)).enumerate();
            // Which NaN comes out is not part of what a kernel promises.
            let differ = |got: &[u8], want: &[u8]| {
                got != want && !(decode(got, dtype)[0].is_nan() && decode(want, dtype)[0].is_nan())
            };
            return match pairs.find(|(_, (got, want))| differ(got, want)) {
                _ if got.len() != want.len() => {
                    Err(format!("`{name}`: {} bytes, expected {}", got.len(), want.len()))
                }
                None => Ok(()),
                Some((index, (got, want))) => Err(format!(
                    "`{name}`[{index}] is {} ({got:02x?}), expected {} ({want:02x?})",
                    decode(got, dtype)[0],
                    decode(want, dtype)[0]
                )),
            };
        }
        let (got, want) = (decode(got, dtype), decode(want, &self.dtype));
        if got.len() != want.len() {
            return Err(format!("`{name}`: {} elements, expected {}", got.len(), want.len()));
        }
        let (abs, rel) = match &self.hardware {
            Some(tolerance) if precision == Precision::Hardware => (tolerance.abs, tolerance.rel),
            _ => (self.abs, self.rel),
        };
        let mut worst = None;
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            let (error, limit) = ((got - want).abs(), abs + rel * want.abs());
            let equal = got == want || got.is_nan() && want.is_nan();
            let fine = equal || got.is_finite() && want.is_finite() && error <= limit;
            if !fine && worst.is_none_or(|(_, _, _, _, ratio)| error / limit > ratio) {
                worst = Some((index, *got, *want, limit, error / limit));
            }
        }
        match worst {
            None => Ok(()),
            Some((index, got, want, limit, _)) => {
                Err(format!("`{name}`[{index}] is {got:e}, expected {want:e} within {limit:e}"))
            }
        }
    }
}

fn width(dtype: &str) -> usize {
    match dtype {
        "u8" | "s8" | "f8e4m3" | "f8e5m2" => 1,
        "u16" | "s16" | "f16" | "bf16" => 2,
        "u32" | "s32" | "f32" => 4,
        _ => 8,
    }
}

/// Elements as f64; 64-bit integers lose low bits, which exact comparison does not come to see.
fn decode(bytes: &[u8], dtype: &str) -> Vec<f64> {
    bytes
        .chunks_exact(width(dtype))
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let bits = u64::from_le_bytes(word);
            match dtype {
                "s8" => f64::from(bits as i8),
                "s16" => f64::from(bits as i16),
                "s32" => f64::from(bits as i32),
                "s64" => bits as i64 as f64,
                "f16" => half::f16::from_bits(bits as u16).to_f64(),
                "bf16" => half::bf16::from_bits(bits as u16).to_f64(),
                "f32" => f64::from(f32::from_bits(bits as u32)),
                "f64" => f64::from_bits(bits),
                "f8e5m2" => half::f16::from_bits((bits as u16) << 8).to_f64(),
                "f8e4m3" => e4m3(bits as u8),
                _ => bits as f64,
            }
        })
        .collect()
}

fn e4m3(code: u8) -> f64 {
    let (sign, exponent, mantissa) = (code >> 7, code >> 3 & 15, f64::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f64::NAN,
        (0, _) => mantissa * 2f64.powi(-9),
        _ => (8.0 + mantissa) * 2f64.powi(i32::from(exponent) - 10),
    };
    if sign == 1 { -magnitude } else { magnitude }
}
