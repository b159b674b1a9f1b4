//! Numbers that other software computed, and how ours are held against them.
//!
//! The files are read with the `safetensors` crate, which shares no code with the reader under test. A file knows
//! which of its tensors have been asked for, so that a test can prove that it left none out.
//!
//! Comparison is element by element: `!(error <= tolerance)` fails, so that NaN does; values that are not finite
//! must be the same on both sides. The message names the worst coordinate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::{Dtype, SafeTensors};

/// A folder of fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A file's text.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One tensor as it is stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: Vec<usize>,
    /// Its elements, little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// Floating-point elements, which f64 holds exactly.
    pub fn floats(&self) -> Vec<f64> {
        match self.dtype {
            Dtype::F64 => self.elements(f64::from_le_bytes),
            Dtype::F32 => self.elements(|bytes| f64::from(f32::from_le_bytes(bytes))),
            Dtype::BF16 => self.elements(|bytes| f64::from(bf16::from_le_bytes(bytes).to_f32())),
            other => panic!("{}: {other:?} holds no plain floats", self.name),
        }
    }

    /// Elements of an f32 or bf16 tensor.
    pub fn f32s(&self) -> Vec<f32> {
        assert_ne!(self.dtype, Dtype::F64, "{}: f64 does not fit", self.name);
        self.floats().into_iter().map(|value| value as f32).collect()
    }

    /// Elements of an integer tensor without negative values.
    pub fn integers(&self) -> Vec<u32> {
        let integers: Vec<i64> = match self.dtype {
            Dtype::I32 => self.elements(|bytes| i64::from(i32::from_le_bytes(bytes))),
            Dtype::I64 => self.elements(i64::from_le_bytes),
            Dtype::U8 => self.elements(|[byte]: [u8; 1]| i64::from(byte)),
            other => panic!("{}: {other:?} is no integer", self.name),
        };
        integers.into_iter().map(|value| u32::try_from(value).expect("no negative value")).collect()
    }

    fn elements<const N: usize, T>(&self, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (elements, rest) = self.bytes.as_chunks::<N>();
        assert!(rest.is_empty(), "{}: whole elements", self.name);
        elements.iter().map(|bytes| read(*bytes)).collect()
    }
}

/// A safetensors file, and which of its tensors have been asked for.
#[derive(Debug)]
pub struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    read: RefCell<BTreeSet<String>>,
}

impl Tensors {
    /// Reads a whole file.
    pub fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
            (name.clone(), Tensor { name, dtype: view.dtype(), shape, bytes })
        });
        Self { tensors: tensors.collect(), read: RefCell::default() }
    }

    /// The tensor `name`.
    #[track_caller]
    pub fn get(&self, name: &str) -> &Tensor {
        self.find(name).unwrap_or_else(|| panic!("the oracle has no tensor {name}"))
    }

    /// The tensor `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        let tensor = self.tensors.get(name)?;
        self.read.borrow_mut().insert(name.to_owned());
        Some(tensor)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The names that nobody has asked for.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.read.borrow();
        self.names().filter(|&name| !read.contains(name)).collect()
    }
}

/// Root of the mean square.
pub fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// Fails unless every element of `found` is within `tolerance` of `expected`, both of `shape`. Returns the worst
/// error in units of the tolerance.
#[track_caller]
pub fn assert_close(what: &str, shape: &[usize], found: &[f32], expected: &[f64], tolerance: f64) -> f64 {
    assert_close_by(what, shape, found, expected, |_| tolerance)
}

/// [`assert_close`] with a tolerance for each element, by its index.
#[track_caller]
pub fn assert_close_by(
    what: &str,
    shape: &[usize],
    found: &[f32],
    expected: &[f64],
    tolerance: impl Fn(usize) -> f64,
) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    assert_eq!(shape.iter().product::<usize>(), expected.len(), "{what}: shape {shape:?}");
    compare(shape, found, expected, tolerance).unwrap_or_else(|difference| panic!("{what}: {difference}"))
}

/// The worst error in units of the tolerance, or what is wrong.
fn compare(
    shape: &[usize],
    found: &[f32],
    expected: &[f64],
    tolerance: impl Fn(usize) -> f64,
) -> Result<f64, String> {
    let mut wrong = 0;
    let (mut worst, mut worst_at) = (0.0, 0);
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(found);
        let (right, ratio) = if found.is_finite() && expected.is_finite() {
            let (error, tolerance) = ((found - expected).abs(), tolerance(at));
            (error <= tolerance, if error == 0.0 { 0.0 } else { error / tolerance })
        } else {
            let same = found == expected || found.is_nan() && expected.is_nan();
            (same, if same { 0.0 } else { f64::INFINITY })
        };
        wrong += usize::from(!right);
        if ratio > worst || ratio.is_nan() {
            (worst, worst_at) = (ratio, at);
        }
    }
    if wrong == 0 {
        return Ok(worst);
    }
    let (count, place) = (expected.len(), coordinate(shape, worst_at));
    let (found, expected, tolerance) = (found[worst_at], expected[worst_at], tolerance(worst_at));
    Err(format!(
        "{wrong} of {count} elements are wrong, the worst at {place:?}: found {found:e}, expected {expected:e}, \
         tolerance {tolerance:e}"
    ))
}

/// Fails unless both are the same, element by element.
#[track_caller]
pub fn assert_same<T: PartialEq + Debug>(what: &str, shape: &[usize], found: &[T], expected: &[T]) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    assert_eq!(shape.iter().product::<usize>(), expected.len(), "{what}: shape {shape:?}");
    let wrong: Vec<usize> = (0..found.len()).filter(|&at| found[at] != expected[at]).collect();
    if let Some(&at) = wrong.first() {
        panic!(
            "{what}: {} of {} elements differ, the first at {:?}: found {:?}, expected {:?}",
            wrong.len(),
            found.len(),
            coordinate(shape, at),
            found[at],
            expected[at]
        );
    }
}

/// The indices of element `at` of a row-major array.
fn coordinate(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut coordinate: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let index = at % extent.max(1);
            at /= extent.max(1);
            index
        })
        .collect();
    coordinate.reverse();
    coordinate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_placed() {
        let expected = [1.0, 2.0, 3.0, 4.0, f64::INFINITY, f64::NAN];
        let right = expected.map(|value| value as f32);
        assert_eq!(compare(&[2, 3], &right, &expected, |_| 0.0), Ok(0.0));
        for (at, wrong) in [(2, 3.5), (2, f32::NAN), (4, f32::NEG_INFINITY), (4, f32::NAN), (5, 1.0)] {
            let mut found = right;
            found[at] = wrong;
            let message = compare(&[2, 3], &found, &expected, |_| 0.25).expect_err("a wrong element");
            let place = format!("1 of 6 elements are wrong, the worst at [{}, {}]: ", at / 3, at % 3);
            assert!(message.starts_with(&place), "{message}");
        }
    }

    #[test]
    #[should_panic(expected = "y: 1 of 6 elements differ, the first at [1, 2]: found 7, expected 6")]
    fn a_wrong_integer_is_found_and_placed() {
        assert_same("y", &[2, 3], &[1, 2, 3, 4, 5, 7], &[1, 2, 3, 4, 5, 6]);
    }
}
